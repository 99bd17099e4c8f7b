{{- define "redis.fullname" -}}
{{- .Values.fullnameOverride | default .Chart.Name -}}
{{- end -}}

{{- define "redis.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "redis.labels" -}}
{{ include "redis.selectorLabels" . }}
app.kubernetes.io/component: cache
{{ include "redis.sharedLabels" . }}
{{- end -}}

{{/* The test's pod is no backend of the Service. */}}
{{- define "redis.testLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}-test
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: test
{{ include "redis.sharedLabels" . }}
{{- end -}}

{{- define "redis.sharedLabels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "redis.image" -}}
{{- $image := .Values.image -}}
{{- with .Values.global.imageRegistry | default $image.registry -}}{{ . }}/{{- end -}}
{{- $image.repository -}}
{{- if $image.digest -}}@{{ $image.digest }}{{- else -}}:{{ $image.tag | default .Chart.AppVersion }}{{- end -}}
{{- end -}}

{{- define "redis.imagePullSecrets" -}}
{{- with concat (.Values.global.imagePullSecrets | default list) .Values.imagePullSecrets | uniq -}}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}

{{- define "redis.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (ternary (include "redis.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{/* redis.bytes: a quantity of memory, Kubernetes' or Redis', as a number. */}}
{{- define "redis.bytes" -}}
{{- $number := regexFind "^[0-9]+" . -}}
{{- $units := dict "kb" 1024 "mb" 1048576 "Mi" 1048576 "gb" 1073741824 "Gi" 1073741824 -}}
{{- mul (int64 $number) (get $units (trimPrefix $number .)) -}}
{{- end -}}

{{- define "redis.maxmemory" -}}
{{- $limit := .Values.resources.limits.memory -}}
{{- $limitBytes := include "redis.bytes" $limit | int64 -}}
{{- if not .Values.maxmemory -}}
{{- div (mul $limitBytes 3) 4 -}}
{{- else if gt (include "redis.bytes" .Values.maxmemory | int64) $limitBytes -}}
{{- fail (printf "maxmemory: %s is more than resources.limits.memory, %s: Redis would be killed before it evicts anything" .Values.maxmemory $limit) -}}
{{- else -}}
{{- .Values.maxmemory -}}
{{- end -}}
{{- end -}}

{{- define "redis.passwordEnv" -}}
{{- with .Values.auth.existingSecret -}}
- name: REDIS_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: {{ $.Values.auth.existingSecretPasswordKey }}
# redis-cli reads this one.
- name: REDISCLI_AUTH
  value: $(REDIS_PASSWORD)
{{- end -}}
{{- end -}}
