{{- define "linktrail.retention.name" -}}{{ include "linktrail.fullname" . }}-retention{{- end -}}

{{- define "linktrail.retention.labels" -}}
app.kubernetes.io/name: linktrail-retention
app.kubernetes.io/instance: {{ .Release.Name }}
# What lets analytics-consumer in lets this in.
app.kubernetes.io/component: analytics-consumer
{{ include "linktrail.sharedLabels" . }}
{{- end -}}
