{{- define "kafka.fullname" -}}
{{- .Values.fullnameOverride | default .Chart.Name -}}
{{- end -}}

{{- define "kafka.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "kafka.labels" -}}
{{ include "kafka.selectorLabels" . }}
app.kubernetes.io/component: broker
{{ include "kafka.sharedLabels" . }}
{{- end -}}

{{/* The test's pod is no backend of the Service. */}}
{{- define "kafka.testLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}-test
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: test
{{ include "kafka.sharedLabels" . }}
{{- end -}}

{{- define "kafka.sharedLabels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "kafka.image" -}}
{{- $image := .Values.image -}}
{{- with .Values.global.imageRegistry | default $image.registry -}}{{ . }}/{{- end -}}
{{- $image.repository -}}
{{- if $image.digest -}}@{{ $image.digest }}{{- else -}}:{{ $image.tag | default .Chart.AppVersion }}{{- end -}}
{{- end -}}

{{- define "kafka.imagePullSecrets" -}}
{{- with concat (.Values.global.imagePullSecrets | default list) .Values.imagePullSecrets | uniq -}}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}

{{- define "kafka.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (ternary (include "kafka.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{/* A setting of the broker as the images' entry points read it from the environment: log.retention.hours is
     KAFKA_LOG_RETENTION_HOURS, `_` is `__` and `-` is `___`. */}}
{{- define "kafka.variable" -}}
KAFKA_{{ . | replace "_" "\x01" | replace "-" "___" | replace "." "_" | replace "\x01" "__" | upper }}
{{- end -}}

{{/* Brokers of all node pools together. */}}
{{- define "kafka.brokers" -}}
{{- $brokers := 0 -}}
{{- range .Values.strimzi.nodePools -}}
{{- if has "broker" .roles }}{{ $brokers = add $brokers (int .replicas) }}{{ end -}}
{{- end -}}
{{- $brokers -}}
{{- end -}}

{{/* Labels of Strimzi's objects: without the first, its operators ignore users, topics and node pools, silently. */}}
{{- define "kafka.strimziLabels" -}}
strimzi.io/cluster: {{ include "kafka.fullname" . }}
{{ include "kafka.labels" . }}
{{- end -}}
