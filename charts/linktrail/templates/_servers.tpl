{{/*
What the services reach, each as YAML for fromYaml: "config" goes into the services' own files, "secrets" are mounted at
/etc/linktrail/NAME, "env" is set, and "egress" is what NetworkPolicy lets out.
*/}}

{{- define "linktrail.postgres" -}}
{{- if .Values.postgres.enabled -}}
{{- $postgres := .Values.postgres -}}
config:
  # pgx takes the rest from the environment.
  DSN: postgres://{{ $postgres.fullnameOverride }}:5432/?sslmode=disable
env:
  {{- range $name, $key := dict "PGUSER" "username" "PGPASSWORD" "password" "PGDATABASE" "database" }}
  - name: {{ $name }}
    valueFrom:
      secretKeyRef:
        name: {{ $postgres.auth.existingSecret | default $postgres.fullnameOverride }}
        key: {{ $key }}
  {{- end }}
egress:
  to:
    - podSelector:
        matchLabels:
          app.kubernetes.io/name: postgres
          app.kubernetes.io/instance: {{ .Release.Name }}
  ports:
    - port: 5432
{{- else -}}
config:
  DSN: ${POSTGRES_DSN}
env:
  - name: POSTGRES_DSN
    valueFrom:
      secretKeyRef:
        name: {{ .Values.externalPostgres.existingSecret }}
        key: {{ .Values.externalPostgres.existingSecretKey }}
egress:
  ports:
    - port: {{ .Values.externalPostgres.port }}
{{- end -}}
{{- end -}}

{{- define "linktrail.redis" -}}
{{- if .Values.redis.enabled -}}
{{- $redis := .Values.redis -}}
config:
  Addrs: [{{ printf "%s:6379" $redis.fullnameOverride | quote }}]
  {{- if $redis.auth.existingSecret }}
  PasswordFile: /etc/linktrail/redis/{{ $redis.auth.existingSecretPasswordKey }}
  {{- end }}
{{- with $redis.auth.existingSecret }}
secrets:
  redis: {{ . }}
{{- end }}
egress:
  to:
    - podSelector:
        matchLabels:
          app.kubernetes.io/name: redis
          app.kubernetes.io/instance: {{ .Release.Name }}
  ports:
    - port: 6379
{{- else if .Values.externalRedis.addrs -}}
{{- $redis := .Values.externalRedis -}}
config:
  Addrs: {{ toJson $redis.addrs }}
  {{- if $redis.cluster }}
  Cluster: true
  {{- end }}
  {{- with $redis.masterName }}
  MasterName: {{ quote . }}
  {{- end }}
  {{- with $redis.username }}
  Username: {{ quote . }}
  {{- end }}
  {{- if $redis.existingSecret }}
  PasswordFile: /etc/linktrail/redis/{{ $redis.existingSecretKey }}
  {{- end }}
  {{- if $redis.tls.enabled }}
  TLS:
    Enabled: true
    {{- if $redis.tls.existingSecret }}
    CAFile: /etc/linktrail/redis-ca/{{ $redis.tls.existingSecretKey }}
    {{- end }}
  {{- end }}
secrets:
  {{- with $redis.existingSecret }}
  redis: {{ . }}
  {{- end }}
  {{- if and $redis.tls.enabled $redis.tls.existingSecret }}
  redis-ca: {{ $redis.tls.existingSecret }}
  {{- end }}
egress:
  ports: {{- include "linktrail.portsOf" $redis.addrs | nindent 4 }}
{{- end -}}
{{- end -}}

{{/* linktrail.portsOf: the ports in a list of host:port. */}}
{{- define "linktrail.portsOf" -}}
{{- $ports := list -}}
{{- range . -}}
{{- $ports = append $ports (dict "port" (regexFind "[0-9]+$" . | int)) -}}
{{- end -}}
{{- $ports | uniq | toYaml -}}
{{- end -}}

{{/* linktrail.kafkaMode: single, strimzi or external. */}}
{{- define "linktrail.kafkaMode" -}}
{{- ternary .Values.kafka.mode "external" .Values.kafka.enabled -}}
{{- end -}}

{{/* linktrail.kafka: takes a component, since each has a user of its own where Strimzi makes them. */}}
{{- define "linktrail.kafka" -}}
{{- $consumes := eq .key "analyticsConsumer" -}}
{{- with .root -}}
{{- $mode := include "linktrail.kafkaMode" . -}}
{{- $kafka := .Values.kafka -}}
{{- if eq $mode "single" -}}
config:
  Brokers: [{{ printf "%s:9092" $kafka.fullnameOverride | quote }}]
topics: {{ .Values.clickStream.createTopics }}
egress:
  to:
    - podSelector:
        matchLabels:
          app.kubernetes.io/name: kafka
          app.kubernetes.io/instance: {{ .Release.Name }}
  ports:
    - port: 9092
{{- else if eq $mode "strimzi" -}}
{{- $plain := eq .Values.clickStream.driver "kq" -}}
{{- $user := ternary $kafka.strimzi.users.consumer $kafka.strimzi.users.publisher $consumes -}}
{{- $mount := ternary "kafka-consumer" "kafka-publisher" $consumes -}}
config:
  Brokers: [{{ printf "%s-kafka-bootstrap:%s" $kafka.fullnameOverride (ternary "9092" "9093" $plain) | quote }}]
  {{- if not $plain }}
  TLS:
    Enabled: true
    CAFile: /etc/linktrail/kafka-ca/ca.crt
  SASL:
    Mechanism: SCRAM-SHA-512
    Username: {{ $user }}
    PasswordFile: /etc/linktrail/{{ $mount }}/password
  {{- end }}
{{- if not $plain }}
secrets:
  {{ $mount }}: {{ $user }}
  kafka-ca: {{ $kafka.fullnameOverride }}-cluster-ca-cert
{{- end }}
topics: false
egress:
  to:
    - podSelector:
        matchLabels:
          strimzi.io/cluster: {{ $kafka.fullnameOverride }}
  ports:
    - port: {{ ternary 9092 9093 $plain }}
{{- else -}}
{{- $kafka := .Values.externalKafka -}}
config:
  Brokers: {{ toJson $kafka.brokers }}
  {{- if $kafka.tls.enabled }}
  TLS:
    Enabled: true
    {{- if $kafka.tls.existingSecret }}
    CAFile: /etc/linktrail/kafka-ca/{{ $kafka.tls.existingSecretKey }}
    {{- end }}
  {{- end }}
  {{- if $kafka.sasl.username }}
  SASL:
    Mechanism: {{ $kafka.sasl.mechanism }}
    Username: {{ quote $kafka.sasl.username }}
    PasswordFile: /etc/linktrail/kafka/{{ $kafka.sasl.existingSecretKey }}
  {{- end }}
secrets:
  {{- if $kafka.sasl.username }}
  kafka: {{ $kafka.sasl.existingSecret }}
  {{- end }}
  {{- if and $kafka.tls.enabled $kafka.tls.existingSecret }}
  kafka-ca: {{ $kafka.tls.existingSecret }}
  {{- end }}
topics: {{ .Values.clickStream.createTopics }}
egress:
  ports: {{- include "linktrail.portsOf" $kafka.brokers | nindent 4 }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* linktrail.telemetry: the services' Telemetry block. */}}
{{- define "linktrail.telemetry" -}}
{{- mergeOverwrite (include "linktrail.collector" . | fromYaml).config .Values.telemetry.config | toYaml -}}
{{- end -}}

{{/* linktrail.destination: what of it says where spans go, and holds for whoever sends any. */}}
{{- define "linktrail.destination" -}}
{{- pick (include "linktrail.telemetry" . | fromYaml) "Batcher" "Endpoint" "OtlpHttpPath" "OtlpHttpSecure" "OtlpGrpcSecure" | toYaml -}}
{{- end -}}

{{/* linktrail.collector: where spans go. */}}
{{- define "linktrail.collector" -}}
{{- $telemetry := .Values.telemetry -}}
{{- $jaeger := .Values.jaeger -}}
{{- $own := and $jaeger.enabled (not $telemetry.endpoint) -}}
config:
  Batcher: {{ $telemetry.batcher }}
  Sampler: {{ $telemetry.sampler }}
  {{- if $own }}
  Endpoint: {{ $jaeger.fullnameOverride }}:{{ ternary 4318 4317 (eq $telemetry.batcher "otlphttp") }}
  {{- else if $telemetry.endpoint }}
  Endpoint: {{ quote $telemetry.endpoint }}
  {{- end }}
egress:
  {{- if $own }}
  - to:
      - podSelector:
          matchLabels:
            app.kubernetes.io/name: jaeger
            app.kubernetes.io/instance: {{ .Release.Name }}
    ports:
      - port: 4317
      - port: 4318
  {{- else if $telemetry.endpoint }}
  - ports:
      - port: {{ include "linktrail.portOfEndpoint" . }}
  {{- end }}
{{- end -}}

{{/* linktrail.portOfEndpoint: of telemetry.endpoint, with the port that its scheme or batcher stands for. */}}
{{- define "linktrail.portOfEndpoint" -}}
{{- $hostPort := regexReplaceAll "^[a-z]+://" .Values.telemetry.endpoint "" | splitList "/" | first -}}
{{- $port := regexFind ":[0-9]+$" $hostPort | trimPrefix ":" -}}
{{- $default := "4317" -}}
{{- if hasPrefix "https://" .Values.telemetry.endpoint -}}{{- $default = "443" -}}
{{- else if hasPrefix "http://" .Values.telemetry.endpoint -}}{{- $default = "80" -}}
{{- else if eq .Values.telemetry.batcher "otlphttp" -}}{{- $default = ternary "443" "80" (eq true (dig "OtlpHttpSecure" false .Values.telemetry.config)) -}}
{{- end -}}
{{- $port | default $default -}}
{{- end -}}

{{/* linktrail.traces: where url-api reads traces, and where people see them. */}}
{{- define "linktrail.traces" -}}
{{- $jaeger := .Values.jaeger -}}
query: {{ .Values.traceQueryURL | default (ternary (printf "http://%s:16686" (dig "fullnameOverride" "jaeger" $jaeger)) "" $jaeger.enabled) | quote }}
url: {{ .Values.traceURL | default (ternary "http://localhost:16686/trace/{trace_id}" "" $jaeger.enabled) | quote }}
egress:
  {{- if .Values.traceQueryURL }}
  - ports:
      - port: {{ regexFind ":[0-9]+(/|$)" .Values.traceQueryURL | trimAll ":/" | default (ternary "443" "80" (hasPrefix "https:" .Values.traceQueryURL)) }}
  {{- else if $jaeger.enabled }}
  - to:
      - podSelector:
          matchLabels:
            app.kubernetes.io/name: jaeger
            app.kubernetes.io/instance: {{ .Release.Name }}
    ports:
      - port: 16686
  {{- end }}
{{- end -}}

{{/* linktrail.brokersForOthers: the brokers as a program in another namespace names them, with commas between. */}}
{{- define "linktrail.brokersForOthers" -}}
{{- $own := ne (include "linktrail.kafkaMode" .) "external" -}}
{{- $brokers := list -}}
{{- range (include "linktrail.kafka" (dict "root" . "key" "analyticsConsumer") | fromYaml).config.Brokers -}}
{{- $brokers = append $brokers (ternary (replace ":" (printf ".%s.svc:" $.Release.Namespace) .) . $own) -}}
{{- end -}}
{{- join "," $brokers -}}
{{- end -}}
