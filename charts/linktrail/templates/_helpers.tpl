{{/*
A component is one of the three services: urlApi, analyticsRpc, analyticsConsumer. Its helpers take a dict of the root
context, the component's key in the values, and its app; "linktrail.component.KEY" makes that dict's text.
*/}}

{{- define "linktrail.fullname" -}}
{{- .Values.fullnameOverride | default .Chart.Name -}}
{{- end -}}

{{- define "linktrail.sharedLabels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: linktrail
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* linktrail.labels: of objects that belong to no single service. */}}
{{- define "linktrail.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{ include "linktrail.sharedLabels" . }}
{{- end -}}

{{- define "linktrail.component.name" -}}
{{- (index .root.Values .key).fullnameOverride | default .app -}}
{{- end -}}

{{/* linktrail.component.kind: of its workload. */}}
{{- define "linktrail.component.kind" -}}
{{- $journal := (index .root.Values .key).journal | default dict -}}
{{- if and $journal.enabled $journal.persistence.enabled -}}StatefulSet{{- else -}}Deployment{{- end -}}
{{- end -}}

{{- define "linktrail.component.selectorLabels" -}}
app.kubernetes.io/name: {{ .app }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end -}}

{{- define "linktrail.component.labels" -}}
{{ include "linktrail.component.selectorLabels" . }}
app.kubernetes.io/component: {{ .app }}
{{ include "linktrail.sharedLabels" .root }}
{{- end -}}

{{- define "linktrail.component.serviceAccountName" -}}
{{- $account := (index .root.Values .key).serviceAccount -}}
{{- $account.name | default (ternary (include "linktrail.component.name" .) "default" $account.create) -}}
{{- end -}}

{{- define "linktrail.component.serviceAccount" -}}
{{- $account := (index .root.Values .key).serviceAccount -}}
{{- if $account.create -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "linktrail.component.serviceAccountName" . }}
  labels:
    {{- include "linktrail.component.labels" . | nindent 4 }}
  {{- with $account.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end -}}
{{- end -}}

{{- define "linktrail.component.pdb" -}}
{{- $values := index .root.Values .key -}}
{{- if $values.pdb.enabled -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "linktrail.component.name" . }}
  labels:
    {{- include "linktrail.component.labels" . | nindent 4 }}
spec:
  maxUnavailable: {{ $values.pdb.maxUnavailable }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "linktrail.component.selectorLabels" . | nindent 6 }}
{{- end -}}
{{- end -}}

{{- define "linktrail.component.hpa" -}}
{{- $values := index .root.Values .key -}}
{{- if $values.autoscaling.enabled -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ include "linktrail.component.name" . }}
  labels:
    {{- include "linktrail.component.labels" . | nindent 4 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: {{ include "linktrail.component.kind" . }}
    name: {{ include "linktrail.component.name" . }}
  minReplicas: {{ $values.autoscaling.minReplicas }}
  maxReplicas: {{ $values.autoscaling.maxReplicas }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {{ $values.autoscaling.targetCPUUtilizationPercentage }}
  {{- with $values.autoscaling.behavior }}
  behavior:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
{{- end -}}

{{/*
linktrail.component.configMap: .config is the text of the service's YAML. telemetry.yaml wins over its Telemetry block and is
followed live; what a telemetry controller writes wins over that. With a controller it is the block itself, so that pods of
a release before have what is said now, and not what was, until the controller has come.
*/}}
{{- define "linktrail.component.configMap" -}}
{{- $overlay := .root.Values.telemetry.overlay.telemetry -}}
{{- if include "linktrail.controlled" .root -}}
{{- $overlay = set (include "linktrail.destination" .root | fromYaml) "Sampler" (include "linktrail.telemetry" .root | fromYaml).Sampler -}}
{{- end -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "linktrail.component.name" . }}
  labels:
    {{- include "linktrail.component.labels" . | nindent 4 }}
data:
  {{ .app }}.yaml: |
    {{- .config | nindent 4 }}
  {{- with $overlay }}
  telemetry.yaml: |
    {{- toYaml (dict "Telemetry" .) | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* linktrail.component.headers: the exporter's, which win over those of the Telemetry block and are followed live. */}}
{{- define "linktrail.component.headers" -}}
{{- with .root.Values.telemetry.overlay.headers -}}
apiVersion: v1
kind: Secret
metadata:
  name: {{ include "linktrail.component.name" $ }}-overlay
  labels:
    {{- include "linktrail.component.labels" $ | nindent 4 }}
stringData:
  headers.yaml: |
    {{- toYaml (dict "Telemetry" (dict "OtlpHeaders" .)) | nindent 4 }}
{{- end -}}
{{- end -}}

{{/* linktrail.component.telemetryVolume: where a component finds its overlay. Of two files of one name the later source wins. */}}
{{- define "linktrail.component.telemetryVolume" -}}
{{- $name := include "linktrail.component.name" . -}}
name: telemetry
projected:
  sources:
    - configMap:
        name: {{ $name }}
        optional: true
        items: [{key: telemetry.yaml, path: telemetry.yaml}]
    - secret:
        name: {{ $name }}-overlay
        optional: true
    # What a telemetry controller writes, and the authorities that it may name.
    - configMap:
        name: {{ $name }}-telemetry
        optional: true
    - secret:
        name: {{ $name }}-telemetry
        optional: true
        items: [{key: headers.yaml, path: headers.yaml}]
{{- end -}}

{{/* linktrail.controlled: not empty when there is a telemetry controller. */}}
{{- define "linktrail.controlled" -}}
{{- if or (index .Values "telemetry-controller").enabled .Values.telemetry.externalController -}}true{{- end -}}
{{- end -}}

{{/* linktrail.image: of .app; .key is its name in images. */}}
{{- define "linktrail.image" -}}
{{- $images := .root.Values.images -}}
{{- with index $images .key -}}
{{- . -}}
{{- else -}}
{{- join "/" (compact (list (.root.Values.global.imageRegistry | default $images.registry) $images.repository .app)) -}}
:{{ $images.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "linktrail.testImage" -}}
{{- $image := .Values.tests.image -}}
{{- join "/" (compact (list (.Values.global.imageRegistry | default $image.registry) $image.repository)) -}}
{{- if $image.digest -}}@{{ $image.digest }}{{- else -}}:{{ $image.tag }}{{- end -}}
{{- end -}}

{{- define "linktrail.imagePullSecrets" -}}
{{- with concat (.Values.global.imagePullSecrets | default list) .Values.imagePullSecrets | uniq -}}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}

{{/* linktrail.bytes: of a quantity such as 512Mi. */}}
{{- define "linktrail.bytes" -}}
{{- $number := regexFind "^[0-9]+" . -}}
{{- $unit := get (dict "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776) (trimPrefix $number .) -}}
{{- mul (int64 $number) $unit -}}
{{- end -}}

{{- define "linktrail.apiKeySecret" -}}
{{- .Values.apiKey.existingSecret | default (printf "%s-api-key" (include "linktrail.fullname" .)) -}}
{{- end -}}

{{- define "linktrail.publicURL" -}}
{{- $door := .Values.ingress.door -}}
{{- if .Values.publicURL -}}
{{- .Values.publicURL -}}
{{- else if and $door.enabled $door.hosts -}}
{{- ternary "https" "http" (not (empty $door.tls)) }}://{{ first $door.hosts }}
{{- else if and .Values.httpRoute.door.enabled .Values.httpRoute.door.hostnames -}}
https://{{ first .Values.httpRoute.door.hostnames }}
{{- else -}}
http://localhost:8080
{{- end -}}
{{- end -}}

{{- define "linktrail.ownHosts" -}}
{{- $hosts := .Values.ownHosts -}}
{{- range list .Values.ingress.door .Values.ingress.api -}}
{{- if .enabled -}}{{- $hosts = concat $hosts .hosts -}}{{- end -}}
{{- end -}}
{{- range list .Values.httpRoute.door .Values.httpRoute.api -}}
{{- if .enabled -}}{{- $hosts = concat $hosts .hostnames -}}{{- end -}}
{{- end -}}
{{- $hosts | uniq | toYaml -}}
{{- end -}}
