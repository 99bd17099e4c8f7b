{{/*
linktrail.component.workload: beside root, key and app it takes "ports", and "kafka", "redis" and "registersKey" where
the component uses them, and "recreate" where old pods must be gone before new ones come.
*/}}
{{- define "linktrail.component.workload" -}}
{{- $root := .root -}}
{{- $values := index $root.Values .key -}}
{{- $file := printf "/etc/linktrail/config/%s.yaml" .app -}}
{{- $postgres := include "linktrail.postgres" $root | fromYaml -}}
{{- $kafka := ternary (include "linktrail.kafka" . | fromYaml) dict (.kafka | default false) -}}
{{- $redis := ternary (include "linktrail.redis" $root | fromYaml) dict (.redis | default false) -}}
{{- $secrets := merge dict ($kafka.secrets | default dict) ($redis.secrets | default dict) -}}
{{- $scaled := $values.autoscaling.enabled -}}
{{- $labels := include "linktrail.component.selectorLabels" . | fromYaml -}}
{{- $kind := include "linktrail.component.kind" . -}}
{{- $journal := and (eq .key "urlApi") $root.Values.urlApi.journal.enabled -}}
apiVersion: apps/v1
kind: {{ $kind }}
metadata:
  name: {{ include "linktrail.component.name" . }}
  labels:
    {{- include "linktrail.component.labels" . | nindent 4 }}
spec:
  {{- if not $scaled }}
  replicas: {{ $values.replicas }}
  {{- end }}
  {{- if eq $kind "StatefulSet" }}
  serviceName: {{ include "linktrail.component.name" . }}-headless
  # No pod waits for another one: each has a journal of its own.
  podManagementPolicy: Parallel
  updateStrategy:
    type: RollingUpdate
  {{- with $values.journal.persistence }}
  persistentVolumeClaimRetentionPolicy:
    {{- toYaml .retentionPolicy | nindent 4 }}
  volumeClaimTemplates:
    - metadata:
        name: journal
        labels:
          {{- include "linktrail.component.selectorLabels" $ | nindent 10 }}
        {{- with .annotations }}
        annotations:
          {{- toYaml . | nindent 10 }}
        {{- end }}
      spec:
        accessModes: [ReadWriteOnce]
        {{- with .storageClass }}
        storageClassName: {{ . }}
        {{- end }}
        resources:
          requests:
            storage: {{ .size }}
  {{- end }}
  {{- else }}
  strategy:
    {{- if .recreate }}
    type: Recreate
    {{- else }}
    type: RollingUpdate
    rollingUpdate:
      maxSurge: 1
      maxUnavailable: 0
    {{- end }}
  {{- end }}
  selector:
    matchLabels:
      {{- include "linktrail.component.selectorLabels" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "linktrail.component.labels" . | nindent 8 }}
        {{- with $values.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      annotations:
        # The overlay is left out: it is followed without a restart.
        checksum/config: {{ include "linktrail.config" . | sha256sum }}
        {{- with $values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ include "linktrail.component.serviceAccountName" . }}
      automountServiceAccountToken: false
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ include "linktrail.component.grace" . }}
      {{- with include "linktrail.imagePullSecrets" $root }}
      {{- . | nindent 6 }}
      {{- end }}
      {{- with $values.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      securityContext:
        {{- include "linktrail.component.podSecurityContext" (merge (dict "volume" (eq $kind "StatefulSet")) .) | nindent 8 }}
      initContainers:
        # Not a hook: it would run before the database exists, or wait for pods that wait for it.
        - name: migrate
          image: {{ include "linktrail.image" (dict "root" $root "key" "linktrail" "app" "linktrail") }}
          imagePullPolicy: {{ $root.Values.images.pullPolicy }}
          args:
            - migrate
            - --config={{ $file }}
            - --wait={{ $root.Values.migrate.wait }}
            {{- /* url-api has to start without Kafka too, so it leaves the topics to analytics-consumer; kq drops what has none. */}}
            {{- if and $kafka.topics (or (ne .key "urlApi") (eq $root.Values.clickStream.driver "kq")) }}
            - --partitions={{ $root.Values.clickStream.partitions }}
            - --replication={{ $root.Values.clickStream.replicationFactor }}
            {{- else }}
            - --no-topics
            {{- end }}
            {{- if .registersKey }}
            - --admin-key-file=/etc/linktrail/api-key/{{ $root.Values.apiKey.existingSecretKey }}
            {{- end }}
          env:
            {{- concat $postgres.env (include "linktrail.goEnv" $root.Values.migrate | fromYamlArray) $values.extraEnv | toYaml | nindent 12 }}
          {{- with $values.extraEnvFrom }}
          envFrom:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          resources:
            {{- toYaml $root.Values.migrate.resources | nindent 12 }}
          securityContext:
            {{- toYaml $root.Values.securityContext | nindent 12 }}
          volumeMounts:
            - name: config
              mountPath: /etc/linktrail/config
              readOnly: true
            {{- if .registersKey }}
            - name: api-key
              mountPath: /etc/linktrail/api-key
              readOnly: true
            {{- end }}
            {{- range $name, $secret := $secrets }}
            - name: {{ $name }}
              mountPath: /etc/linktrail/{{ $name }}
              readOnly: true
            {{- end }}
            {{- with $values.extraVolumeMounts }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
      containers:
        - name: {{ .app }}
          image: {{ include "linktrail.image" . }}
          imagePullPolicy: {{ $root.Values.images.pullPolicy }}
          args:
            - -f
            - {{ $file }}
          env:
            - name: POD_NAME
              valueFrom:
                fieldRef:
                  fieldPath: metadata.name
            - name: OTEL_RESOURCE_ATTRIBUTES
              value: service.instance.id=$(POD_NAME),k8s.pod.name=$(POD_NAME),k8s.{{ lower $kind }}.name={{ include "linktrail.component.name" . }},k8s.namespace.name={{ $root.Release.Namespace }}
            {{- concat $postgres.env (include "linktrail.component.goEnv" . | fromYamlArray) $values.extraEnv | toYaml | nindent 12 }}
          {{- with $values.extraEnvFrom }}
          envFrom:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          ports:
            {{- toYaml (append (.ports | default list) (dict "name" "ops" "containerPort" 6060)) | nindent 12 }}
          # Only /livez ends a pod: what a service waits for is not mended by a restart.
          startupProbe:
            httpGet:
              path: /livez
              port: ops
            periodSeconds: 1
            failureThreshold: 60
          livenessProbe:
            httpGet:
              path: /livez
              port: ops
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          readinessProbe:
            httpGet:
              path: /readyz
              port: ops
            periodSeconds: 5
            # A check of readiness may take two seconds itself.
            timeoutSeconds: 5
          {{- if $values.preStopSeconds }}
          lifecycle:
            preStop:
              sleep:
                seconds: {{ $values.preStopSeconds }}
          {{- end }}
          resources:
            {{- include "linktrail.component.resources" . | nindent 12 }}
          securityContext:
            {{- toYaml $root.Values.securityContext | nindent 12 }}
          volumeMounts:
            - name: config
              mountPath: /etc/linktrail/config
              readOnly: true
            - name: telemetry
              mountPath: /etc/linktrail/telemetry
              readOnly: true
            {{- if $journal }}
            - name: journal
              mountPath: {{ include "linktrail.journal.dir" . }}
            {{- end }}
            {{- range $name, $secret := $secrets }}
            - name: {{ $name }}
              mountPath: /etc/linktrail/{{ $name }}
              readOnly: true
            {{- end }}
            {{- with $values.extraVolumeMounts }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
      volumes:
        - name: config
          configMap:
            name: {{ include "linktrail.component.name" . }}
            items: [{key: {{ .app }}.yaml, path: {{ .app }}.yaml}]
        - {{- include "linktrail.component.telemetryVolume" . | nindent 10 }}
        {{- if and $journal (eq $kind "Deployment") }}
        - name: journal
          emptyDir:
            sizeLimit: {{ include "linktrail.journal.sizeLimit" $root }}
        {{- end }}
        {{- if .registersKey }}
        - name: api-key
          secret:
            secretName: {{ include "linktrail.apiKeySecret" $root }}
        {{- end }}
        {{- range $name, $secret := $secrets }}
        - name: {{ $name }}
          secret:
            secretName: {{ $secret }}
        {{- end }}
        {{- with $values.extraVolumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with $values.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.topologySpreadConstraints }}
      topologySpreadConstraints:
        {{- range . }}
        - {{- toYaml (merge (deepCopy .) (ternary dict (dict "labelSelector" (dict "matchLabels" $labels)) (hasKey . "labelSelector"))) | nindent 10 }}
        {{- end }}
      {{- end }}
{{- end -}}

{{/* linktrail.goEnv: of what has resources; "beside" are bytes of its memory that are not Go's. */}}
{{- define "linktrail.goEnv" -}}
- name: GOMEMLIMIT
  value: {{ div (mul (sub (include "linktrail.bytes" .resources.limits.memory) (.beside | default 0)) 9) 10 | quote }}
{{- end -}}

{{/*
linktrail.component.grace: what a stop may take. Beside the drain, spans, connections and probes have five seconds each,
url-api and analytics-rpc are ended by go-zero twenty seconds after the drain, and kq's readers may wait for a rebalance.
*/}}
{{- define "linktrail.component.grace" -}}
{{- $values := index .root.Values .key -}}
{{- $closing := 21 -}}
{{- if and (eq .key "analyticsConsumer") (eq .root.Values.clickStream.driver "kq") -}}{{- $closing = 41 -}}{{- end -}}
{{- $values.terminationGracePeriodSeconds | default (add ($values.preStopSeconds | default 0) $values.drainSeconds $closing) -}}
{{- end -}}
