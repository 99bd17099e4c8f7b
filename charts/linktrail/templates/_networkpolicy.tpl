{{/*
linktrail.component.networkPolicy: "ingress" are rules, as a list; "reaches" names what goes out, of postgres, redis, kafka,
traces and analytics-rpc. All have DNS, the collector, and metrics that Prometheus reads.
*/}}
{{- define "linktrail.component.networkPolicy" -}}
{{- $root := .root -}}
{{- $policy := $root.Values.networkPolicy -}}
{{- if $policy.enabled -}}
{{- $metricsFrom := $policy.metricsFrom -}}
{{- $controller := dict "app.kubernetes.io/name" "telemetry-controller" -}}
{{- if $root.Values.telemetry.externalController -}}
{{- $metricsFrom = append $metricsFrom (dict "namespaceSelector" dict "podSelector" (dict "matchLabels" $controller)) -}}
{{- else if include "linktrail.controlled" $root -}}
{{- $controller = set $controller "app.kubernetes.io/instance" $root.Release.Name -}}
{{- $metricsFrom = append $metricsFrom (dict "podSelector" (dict "matchLabels" $controller)) -}}
{{- end -}}
{{- $ingress := .ingress | default list -}}
{{- if $metricsFrom -}}
{{- $ingress = append $ingress (dict "from" $metricsFrom "ports" (list (dict "port" 6060))) -}}
{{- end -}}
{{- $egress := list (include "linktrail.dnsEgress" $policy | fromYaml) -}}
{{- $component := . -}}
{{- range .reaches -}}
{{- if eq . "analytics-rpc" -}}
{{- $rpc := dict "root" $root "key" "analyticsRpc" "app" . -}}
{{- $egress = append $egress (dict
  "to" (list (dict "podSelector" (dict "matchLabels" (include "linktrail.component.selectorLabels" $rpc | fromYaml))))
  "ports" (list (dict "port" 8082))) -}}
{{- else -}}
{{- with (include (printf "linktrail.%s" .) (ternary $component $root (eq . "kafka")) | fromYaml).egress -}}
{{- $egress = concat $egress (ternary . (list .) (kindIs "slice" .)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $egress = concat $egress ((include "linktrail.collector" $root | fromYaml).egress | default list) $policy.extraEgress -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "linktrail.component.name" . }}
  labels:
    {{- include "linktrail.component.labels" . | nindent 4 }}
spec:
  podSelector:
    matchLabels:
      {{- include "linktrail.component.selectorLabels" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  {{- with $ingress }}
  ingress:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  egress:
    {{- toYaml $egress | nindent 4 }}
{{- end -}}
{{- end -}}

{{/* linktrail.dnsEgress: takes networkPolicy. */}}
{{- define "linktrail.dnsEgress" -}}
ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
{{- with .dnsTo }}
to: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
