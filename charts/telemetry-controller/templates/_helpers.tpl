{{- define "telemetry-controller.fullname" -}}
{{- .Values.fullnameOverride | default .Chart.Name -}}
{{- end -}}

{{/* The name of what belongs to no namespace. */}}
{{- define "telemetry-controller.clusterName" -}}
{{- .Release.Namespace }}-{{ include "telemetry-controller.fullname" . -}}
{{- end -}}

{{- define "telemetry-controller.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "telemetry-controller.labels" -}}
{{ include "telemetry-controller.selectorLabels" . }}
app.kubernetes.io/component: telemetry-controller
{{ include "telemetry-controller.sharedLabels" . }}
{{- end -}}

{{/* The test's pod is no backend of the Service. */}}
{{- define "telemetry-controller.testLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}-test
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: test
{{ include "telemetry-controller.sharedLabels" . }}
{{- end -}}

{{- define "telemetry-controller.sharedLabels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "telemetry-controller.image" -}}
{{- $image := .Values.image -}}
{{- with .Values.global.imageRegistry | default $image.registry -}}{{ . }}/{{- end -}}
{{- $image.repository -}}
{{- if $image.digest -}}@{{ $image.digest }}{{- else -}}:{{ $image.tag | default .Chart.AppVersion }}{{- end -}}
{{- end -}}

{{- define "telemetry-controller.imagePullSecrets" -}}
{{- with concat (.Values.global.imagePullSecrets | default list) .Values.imagePullSecrets | uniq -}}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}

{{- define "telemetry-controller.serviceAccountName" -}}
{{- $account := .Values.serviceAccount -}}
{{- if not (or $account.create $account.name) -}}
{{- fail "serviceAccount.name is empty: with serviceAccount.create=false, name the ServiceAccount that is to have the rights" -}}
{{- end -}}
{{- $account.name | default (include "telemetry-controller.fullname" .) -}}
{{- end -}}

{{/* Nine tenths of the memory limit in bytes, for Go's collector to aim at. */}}
{{- define "telemetry-controller.goMemLimit" -}}
{{- $limit := .Values.resources.limits.memory -}}
{{- $number := regexFind "^[0-9]+" $limit -}}
{{- $unit := get (dict "Mi" 1048576 "Gi" 1073741824) (trimPrefix $number $limit) -}}
{{- div (mul (int64 $number) $unit 9) 10 -}}
{{- end -}}

{{/* telemetry-controller.same: list BEFORE AFTER KEYS: an expression: two maps are the same but for KEYS. */}}
{{- define "telemetry-controller.same" -}}
{{- $before := index . 0 }}{{ $after := index . 1 }}{{ $keys := index . 2 -}}
{{ printf "%s.all(k, k in %s || (k in %s && %s[k] == %s[k])) && %s.all(k, k in %s || k in %s)" $after $keys $before $after $before $before $keys $after | quote }}
{{- end }}

{{/* telemetry-controller.sameAnnotations: list ANNOTATION MESSAGE: a validation: variables.before and .after are the same but for it. */}}
{{- define "telemetry-controller.sameAnnotations" -}}
- expression: >-
    variables.after.all(k, k == '{{ index . 0 }}' || (k in variables.before && variables.after[k] == variables.before[k])) &&
    variables.before.all(k, k == '{{ index . 0 }}' || k in variables.after)
  message: "{{ index . 1 }}: this changes another annotation"
  reason: Forbidden
{{- end }}

{{/* telemetry-controller.sameMetadata: list FIELD... MESSAGE: validations: these fields of an object's metadata are as they were. */}}
{{- define "telemetry-controller.sameMetadata" -}}
{{- $message := last . -}}
{{- range $i, $field := initial . }}
{{- if $i }}
{{ end -}}
- expression: object.metadata.?{{ $field }} == oldObject.metadata.?{{ $field }}
  message: "{{ $message }}: this changes its {{ $field }}"
  reason: Forbidden
{{- end }}
{{- end }}
