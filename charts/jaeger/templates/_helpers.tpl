{{- define "jaeger.fullname" -}}
{{- .Values.fullnameOverride | default .Chart.Name -}}
{{- end -}}

{{- define "jaeger.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "jaeger.labels" -}}
{{ include "jaeger.selectorLabels" . }}
app.kubernetes.io/component: tracing
{{ include "jaeger.sharedLabels" . }}
{{- end -}}

{{/* The test's pod is no backend of the Service. */}}
{{- define "jaeger.testLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}-test
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: test
{{ include "jaeger.sharedLabels" . }}
{{- end -}}

{{- define "jaeger.sharedLabels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "jaeger.image" -}}
{{- $image := .Values.image -}}
{{- with .Values.global.imageRegistry | default $image.registry -}}{{ . }}/{{- end -}}
{{- $image.repository -}}
{{- if $image.digest -}}@{{ $image.digest }}{{- else -}}:{{ $image.tag | default .Chart.AppVersion }}{{- end -}}
{{- end -}}

{{- define "jaeger.imagePullSecrets" -}}
{{- with concat (.Values.global.imagePullSecrets | default list) .Values.imagePullSecrets | uniq -}}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}

{{- define "jaeger.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (ternary (include "jaeger.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{/* Nine tenths of the memory limit, for Go's collector to aim at. */}}
{{- define "jaeger.gomemlimit" -}}
{{- $limit := .Values.resources.limits.memory -}}
{{- $number := regexFind "^[0-9]+" $limit -}}
{{- $units := dict "Mi" 1 "Gi" 1024 -}}
{{- div (mul (int64 $number) (get $units (trimPrefix $number $limit)) 9) 10 -}}MiB
{{- end -}}

{{- define "jaeger.basePath" -}}
{{- .Values.basePath | trimSuffix "/" -}}
{{- end -}}

{{/* Jaeger 2 is an OpenTelemetry collector, and is configured as one. */}}
{{- define "jaeger.config" -}}
service:
  extensions: [jaeger_storage, jaeger_query, healthcheckv2]
  pipelines:
    traces:
      receivers: [otlp]
      processors: [batch]
      exporters: [jaeger_storage_exporter]
  telemetry:
    resource:
      service.name: jaeger
    metrics:
      level: normal
      readers:
        - pull:
            exporter:
              prometheus:
                host: 0.0.0.0
                port: 8888
    logs:
      level: {{ .Values.logLevel }}
extensions:
  healthcheckv2:
    use_v2: true
    http:
      endpoint: 0.0.0.0:13133
  jaeger_storage:
    backends:
      traces:
        {{- if eq .Values.storage.type "badger" }}
        badger:
          ephemeral: false
          directories:
            keys: /var/lib/jaeger/keys
            values: /var/lib/jaeger/values
          ttl:
            spans: {{ .Values.storage.badger.ttl }}
        {{- else }}
        memory:
          max_traces: {{ .Values.storage.memory.maxTraces | int64 }}
        {{- end }}
  jaeger_query:
    storage:
      traces: traces
    base_path: {{ include "jaeger.basePath" . | default "/" }}
    http:
      endpoint: 0.0.0.0:16686
    grpc:
      endpoint: 0.0.0.0:16685
receivers:
  otlp:
    protocols:
      grpc:
        endpoint: 0.0.0.0:4317
      http:
        endpoint: 0.0.0.0:4318
processors:
  batch: {}
exporters:
  jaeger_storage_exporter:
    trace_storage: traces
{{- end -}}
