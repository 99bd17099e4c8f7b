{{- define "linktrail.test.labels" -}}
app.kubernetes.io/name: linktrail-test
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: test
{{ include "linktrail.sharedLabels" . }}
{{- end -}}

{{- define "linktrail.test.annotations" -}}
helm.sh/hook: test
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}

{{/* linktrail.test.pod: of a "name" and a "script", which has ask. */}}
{{- define "linktrail.test.pod" -}}
{{- $root := .root -}}
{{- $urlAPI := dict "root" $root "key" "urlApi" "app" "url-api" -}}
apiVersion: v1
kind: Pod
metadata:
  name: {{ include "linktrail.fullname" $root }}-test-{{ .name }}
  labels:
    {{- include "linktrail.test.labels" $root | nindent 4 }}
  annotations:
    {{- include "linktrail.test.annotations" $root | nindent 4 }}
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with include "linktrail.imagePullSecrets" $root }}
  {{- . | nindent 2 }}
  {{- end }}
  securityContext:
    {{- toYaml $root.Values.podSecurityContext | nindent 4 }}
  containers:
    - name: {{ .name }}
      image: {{ include "linktrail.testImage" $root }}
      imagePullPolicy: {{ $root.Values.images.pullPolicy }}
      command: [sh, -euc]
      args:
        - |
          # ask METHOD PORT PATH [BODY]: prints the answer, headers too. wget would follow a redirect.
          ask() {
            {
              printf '%s %s HTTP/1.1\r\nHost: %s:%s\r\nAuthorization: Bearer %s\r\nConnection: close\r\n' "$1" "$3" "$HOST" "$2" "$KEY"
              [ -z "${4:-}" ] || printf 'Content-Type: application/json\r\nContent-Length: %s\r\n' "${#4}"
              printf '\r\n%s' "${4:-}"
              sleep 1 # nc would end with its input
            } | nc -w 10 "$HOST" "$2" | tr -d '\r'
          }
          # expect WHAT PATTERN TEXT
          expect() {
            if printf '%s\n' "$3" | grep -q "$2"; then echo "ok: $1"; return; fi
            echo "FAILED: $1; the answer was:"; printf '%s\n' "$3"; exit 1
          }
          # kube-proxy may need a moment for a new Service.
          for try in $(seq 30); do
            [ -n "$(ask GET 8080 /)" ] && [ -n "$(ask GET 8081 /)" ] && break
          done
          {{- .script | nindent 10 }}
      env:
        - name: HOST
          value: {{ include "linktrail.component.name" $urlAPI }}
        - name: KEY
          valueFrom:
            secretKeyRef:
              name: {{ include "linktrail.apiKeySecret" $root }}
              key: {{ $root.Values.apiKey.existingSecretKey }}
      resources:
        requests: {cpu: 20m, memory: 16Mi}
        limits: {cpu: 500m, memory: 64Mi}
      securityContext:
        {{- toYaml $root.Values.securityContext | nindent 8 }}
{{- end -}}
