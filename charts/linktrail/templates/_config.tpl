{{/*
The services' own configuration files, from values. What a user says in urlApi.config and the like wins.
*/}}

{{- define "linktrail.config.shared" -}}
Name: {{ .app }}
Log:
  Encoding: json
  Level: {{ .root.Values.logLevel }}
  Stat: false
Store: {{- (include "linktrail.postgres" .root | fromYaml).config | toYaml | nindent 2 }}
Telemetry: {{- include "linktrail.telemetry" .root | nindent 2 }}
TelemetryOverlay: /etc/linktrail/telemetry
Ops:
  Addr: 0.0.0.0:6060
Drain: {{ (index .root.Values .key).drainSeconds }}s
{{- end -}}

{{- define "linktrail.config.clickStream" -}}
{{- with .root.Values.clickStream -}}
Driver: {{ .driver }}
Topic: {{ quote .topic }}
Group: {{ quote .group }}
{{- end }}
{{ (include "linktrail.kafka" . | fromYaml).config | toYaml }}
{{- end -}}

{{- define "linktrail.config.urlApi" -}}
{{- $root := .root -}}
{{- $traces := include "linktrail.traces" $root | fromYaml -}}
{{ include "linktrail.config.shared" . }}
Host: 0.0.0.0
Port: 8081
Timeout: 3000 # ms
MaxBytes: 65536
Middlewares:
  Log: false # no line per request
PublicURL: {{ include "linktrail.publicURL" $root }}
OwnHosts: {{- include "linktrail.ownHosts" $root | nindent 2 }}
TrustedProxies: {{ toJson $root.Values.trustedProxies }}
{{- with $traces.url }}
TraceURL: {{ quote . }}
{{- end }}
{{- with $traces.query }}
TraceQuery:
  Jaeger: {{ quote . }}
{{- end }}
Console:
  Enabled: {{ $root.Values.console.enabled }}
Door:
  Addr: 0.0.0.0:8080
{{- with (include "linktrail.redis" $root | fromYaml).config }}
Redis: {{- toYaml . | nindent 2 }}
{{- end }}
ClickStream: {{- include "linktrail.config.clickStream" . | nindent 2 }}
{{- if $root.Values.urlApi.journal.enabled }}
Journal: {{- include "linktrail.config.journal" $root | nindent 2 }}
{{- end }}
Analytics:
  Target: dns:///{{ include "linktrail.component.name" (dict "root" $root "key" "analyticsRpc" "app" "analytics-rpc") }}:8082
{{- end -}}

{{- define "linktrail.config.analyticsRpc" -}}
{{ include "linktrail.config.shared" . }}
ListenOn: 0.0.0.0:8082
Timeout: 2000 # ms
MaxConnectionAge: {{ .root.Values.analyticsRpc.maxConnectionAge }}
{{- end -}}

{{- define "linktrail.config.analyticsConsumer" -}}
{{ include "linktrail.config.shared" . }}
ClickStream: {{- include "linktrail.config.clickStream" . | nindent 2 }}
{{- end -}}

{{/* linktrail.config: the whole file of a component. */}}
{{- define "linktrail.config" -}}
{{- $file := include (printf "linktrail.config.%s" .key) . | fromYaml -}}
{{- toYaml (mergeOverwrite $file (index .root.Values .key).config) -}}
{{- end -}}
