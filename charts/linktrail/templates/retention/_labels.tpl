{{- define "linktrail.retention.name" -}}{{ include "linktrail.fullname" . }}-retention{{- end -}}

{{- define "linktrail.retention.labels" -}}
app.kubernetes.io/name: linktrail-retention
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: retention
{{ include "linktrail.sharedLabels" . }}
{{- end -}}
