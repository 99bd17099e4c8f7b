{{/*
The journal of url-api: clicks on the disk until Kafka has them. Its segments are files that are mapped into memory, so it
takes as much of the pod's memory as of the disk.
*/}}

{{- define "linktrail.journal.dir" -}}/var/lib/linktrail/journal{{- end -}}

{{- define "linktrail.config.journal" -}}
{{- with .Values.urlApi.journal -}}
Dir: {{ include "linktrail.journal.dir" . }}
MaxBytes: {{ include "linktrail.bytes" .maxSize }}
SegmentBytes: {{ include "linktrail.bytes" .segmentSize }}
Full: {{ .full }}
Sync: {{ .sync }}
{{- end -}}
{{- end -}}

{{/*
linktrail.journal.beyond: mebibytes that the disk must have beyond the journal's bound. A segment that is given up there
keeps its space until the clicks of it that are on their way to Kafka are acknowledged: at most ClickStream.Queue, 65,536,
each of less than 2 KiB. Beyond that bound a journal is no journal: the kubelet evicts the pod.
*/}}
{{- define "linktrail.journal.beyond" -}}128{{- end -}}

{{- define "linktrail.journal.sizeLimit" -}}
{{- with .Values.urlApi.journal -}}
{{- .emptyDir.sizeLimit | default (printf "%dMi" (add (div (include "linktrail.bytes" .maxSize | int64) 1048576) (include "linktrail.journal.beyond" .))) -}}
{{- end -}}
{{- end -}}

{{/* linktrail.component.resources: with the disk that the journal takes of the node. */}}
{{- define "linktrail.component.resources" -}}
{{- $values := index .root.Values .key -}}
{{- $resources := deepCopy $values.resources -}}
{{- if and (eq .key "urlApi") $values.journal (eq (include "linktrail.component.kind" .) "Deployment") -}}
{{- if and $values.journal.enabled $values.journal.emptyDir.reserve -}}
{{- $_ := set $resources.requests "ephemeral-storage" (include "linktrail.journal.sizeLimit" .root) -}}
{{- end -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}

{{/* linktrail.component.podSecurityContext: a volume, where there is a "volume", belongs to root until its group is said. */}}
{{- define "linktrail.component.podSecurityContext" -}}
{{- $context := .root.Values.podSecurityContext -}}
{{- if and .volume $context.runAsGroup -}}
{{- $context = merge (deepCopy $context) (dict "fsGroup" $context.runAsGroup "fsGroupChangePolicy" "OnRootMismatch") -}}
{{- end -}}
{{- toYaml $context -}}
{{- end -}}

{{/* linktrail.component.goEnv: Go has what the journal leaves of the pod's memory. */}}
{{- define "linktrail.component.goEnv" -}}
{{- $values := index .root.Values .key -}}
{{- $journal := $values.journal | default dict -}}
{{- include "linktrail.goEnv" (dict "resources" $values.resources "beside" (ternary (include "linktrail.bytes" ($journal.maxSize | default "0Mi")) "0" ($journal.enabled | default false))) -}}
{{- end -}}

{{- define "linktrail.ship.labels" -}}
app.kubernetes.io/name: linktrail-journal-ship
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: journal-ship
{{ include "linktrail.sharedLabels" . }}
{{- end -}}
