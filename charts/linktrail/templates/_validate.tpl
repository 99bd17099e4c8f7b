{{/* linktrail.validate: what values.schema.json cannot say, and what it would, for those who skip it. */}}
{{- define "linktrail.validate" -}}
{{- $v := .Values -}}
{{- $mode := include "linktrail.kafkaMode" . -}}
{{- if not (or $v.postgres.enabled $v.externalPostgres.existingSecret) -}}
{{- fail "externalPostgres.existingSecret is empty: with postgres.enabled=false, name a Secret with the address of your Postgres" -}}
{{- end -}}
{{- if eq $mode "external" -}}
{{- if not $v.externalKafka.brokers -}}
{{- fail "externalKafka.brokers is empty: without kafka.mode single or strimzi, list host:port of your brokers" -}}
{{- end -}}
{{- if ne (empty $v.externalKafka.sasl.username) (empty $v.externalKafka.sasl.existingSecret) -}}
{{- fail "externalKafka.sasl: username and existingSecret go together; one of them is empty" -}}
{{- end -}}
{{- end -}}
{{- range concat $v.externalKafka.brokers $v.externalRedis.addrs -}}
{{- if not (regexMatch "^[^:/ ]+:[0-9]+$" .) -}}
{{- fail (printf "externalKafka.brokers and externalRedis.addrs: %q is not host:port" .) -}}
{{- end -}}
{{- end -}}
{{- if eq $v.clickStream.driver "kq" -}}
{{- if and (eq $mode "external") (or $v.externalKafka.tls.enabled $v.externalKafka.sasl.username) -}}
{{- fail "clickStream.driver: kq has neither TLS nor SASL, which externalKafka asks for; name a plain listener, or take kgo" -}}
{{- end -}}
{{- if and (eq $mode "strimzi") (not $v.kafka.strimzi.plainListener.enabled) -}}
{{- fail "clickStream.driver: kq has neither TLS nor SASL, and kafka.mode=strimzi offers no plain listener; set kafka.strimzi.plainListener.enabled=true, or take kgo" -}}
{{- end -}}
{{- end -}}
{{- $partitions := int $v.clickStream.partitions -}}
{{- if eq $mode "strimzi" -}}
{{- with $v.kafka.strimzi -}}
{{- $partitions = int .topic.partitions -}}
{{- if ne .topic.name $v.clickStream.topic -}}
{{- fail (printf "clickStream.topic: %s is not the topic that Strimzi makes, kafka.strimzi.topic.name, %s; give both the same" $v.clickStream.topic .topic.name) -}}
{{- end -}}
{{- if ne .users.consumerGroup $v.clickStream.group -}}
{{- fail (printf "clickStream.group: %s is not the group that the consumer's user may be in, kafka.strimzi.users.consumerGroup, %s; give both the same" $v.clickStream.group .users.consumerGroup) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with $v.analyticsConsumer.autoscaling -}}
{{- if and .enabled (gt (int .maxReplicas) $partitions) -}}
{{- fail (printf "analyticsConsumer.autoscaling.maxReplicas: %d is more than the topic has partitions, %d (clickStream.partitions, or kafka.strimzi.topic.partitions); further pods would have nothing to read" (int .maxReplicas) $partitions) -}}
{{- end -}}
{{- if and .enabled (eq .type "cpu") (lt (int .minReplicas) 1) -}}
{{- fail "analyticsConsumer.autoscaling.minReplicas: 0 needs type keda; a HorizontalPodAutoscaler keeps 1 at least" -}}
{{- end -}}
{{- end -}}
{{- range $key := list "urlApi" "analyticsRpc" "analyticsConsumer" -}}
{{- with (index $v $key).autoscaling -}}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) -}}
{{- fail (printf "%s.autoscaling: minReplicas, %d, is more than maxReplicas, %d" $key (int .minReplicas) (int .maxReplicas)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $kind := list "ingress" "httpRoute" -}}
{{- range $name := list "door" "api" -}}
{{- with index $v $kind $name -}}
{{- $hosts := .hosts | default .hostnames -}}
{{- if and .enabled (not $hosts) -}}
{{- fail (printf "%s.%s.%s is empty: name the hosts that it is for" $kind $name (ternary "hosts" "hostnames" (eq $kind "ingress"))) -}}
{{- end -}}
{{- if and .enabled (eq $kind "httpRoute") (not .parentRefs) -}}
{{- fail (printf "httpRoute.%s.parentRefs is empty: name the Gateway" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $apiHosts := list -}}
{{- range list $v.ingress.api $v.httpRoute.api -}}
{{- if and .enabled (eq .path "/") -}}{{- $apiHosts = concat $apiHosts (.hosts | default .hostnames) -}}{{- end -}}
{{- end -}}
{{- range list $v.ingress.door $v.httpRoute.door -}}
{{- if .enabled -}}
{{- range .hosts | default .hostnames -}}
{{- if has . $apiHosts -}}
{{- fail (printf "the host %s is both the door's and the API's: give the API a host of its own, or the path /api" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- include "linktrail.validate.telemetry" . -}}
{{- include "linktrail.validate.journal" .Values.urlApi -}}
{{- end -}}

{{/* linktrail.validate.journal: takes urlApi. */}}
{{- define "linktrail.validate.journal" -}}
{{- $journal := .journal -}}
{{- if hasKey .config "Journal" -}}
{{- fail "urlApi.config.Journal: say it in urlApi.journal, from which disk and memory of the pod are reckoned too" -}}
{{- end -}}
{{- if and $journal.persistence.enabled (not $journal.enabled) -}}
{{- fail "urlApi.journal.persistence.enabled: there is no journal to keep; set urlApi.journal.enabled=true" -}}
{{- end -}}
{{- if $journal.enabled -}}
{{- $size := include "linktrail.bytes" $journal.maxSize | int64 -}}
{{- $segment := include "linktrail.bytes" $journal.segmentSize | int64 -}}
{{- if gt $segment 1073741824 -}}
{{- fail (printf "urlApi.journal.segmentSize: %s is more than 1Gi" $journal.segmentSize) -}}
{{- end -}}
{{- if lt $size (mul 4 $segment) -}}
{{- fail (printf "urlApi.journal.maxSize: %s is less than four times urlApi.journal.segmentSize, %s" $journal.maxSize $journal.segmentSize) -}}
{{- end -}}
{{- $room := add $size (mul 1048576 (include "linktrail.journal.beyond" .)) -}}
{{- $least := printf "urlApi.journal.maxSize, %s, and %sMi more" $journal.maxSize (include "linktrail.journal.beyond" .) -}}
{{- if lt (include "linktrail.bytes" .resources.limits.memory | int64) $room -}}
{{- fail (printf "urlApi.resources.limits.memory: %s is less than %s: the journal's files are mapped into memory, and the process needs some beside them" .resources.limits.memory $least) -}}
{{- end -}}
{{- if and $journal.persistence.enabled (lt (include "linktrail.bytes" $journal.persistence.size | int64) $room) -}}
{{- fail (printf "urlApi.journal.persistence.size: %s is less than %s: a file that is given up takes space until its clicks on their way have arrived" $journal.persistence.size $least) -}}
{{- end -}}
{{- with $journal.emptyDir.sizeLimit -}}
{{- if lt (include "linktrail.bytes" . | int64) $room -}}
{{- fail (printf "urlApi.journal.emptyDir.sizeLimit: %s is less than %s: the pod would be evicted, and its journal lost" . $least) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* linktrail.validate.telemetry: what services would not start with, and what nobody would look at. */}}
{{- define "linktrail.validate.telemetry" -}}
{{- $telemetry := .Values.telemetry -}}
{{- $controller := index .Values "telemetry-controller" -}}
{{- $controlled := include "linktrail.controlled" . -}}
{{- $object := and $controller.enabled $controller.default -}}
{{- $block := include "linktrail.telemetry" . | fromYaml -}}
{{- $batchers := list $telemetry.batcher $telemetry.overlay.telemetry.Batcher -}}
{{- if and $controller.enabled $telemetry.externalController -}}
{{- fail "telemetry.externalController: this release brings a telemetry controller too; set telemetry-controller.enabled=false, or leave it off" -}}
{{- end -}}
{{- if and $controlled (or $telemetry.overlay.telemetry $telemetry.overlay.headers) -}}
{{- fail "telemetry.overlay: a telemetry controller writes it; say it in telemetry.endpoint, batcher, sampler and headersSecret or in a Telemetry object of your own, or do without a controller" -}}
{{- end -}}
{{- range $key := keys $telemetry.config | sortAlpha -}}
{{- range list "Batcher" "Endpoint" "Sampler" -}}
{{- if eq (lower .) (lower $key) -}}
{{- fail (printf "telemetry.config.%s: say it in telemetry.%s, by which the rest of the chart goes too" $key (lower .)) -}}
{{- end -}}
{{- end -}}
{{- range list "OtlpGrpcSecure" "OtlpHeaders" "OtlpHttpPath" "OtlpHttpSecure" -}}
{{- if and (eq (lower .) (lower $key)) (ne . $key) -}}
{{- fail (printf "telemetry.config.%s: spell it %s, or services alone would know it" $key .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $key, $batcher := dict "OtlpGrpcSecure" "otlpgrpc" "OtlpHttpPath" "otlphttp" "OtlpHttpSecure" "otlphttp" -}}
{{- if and (get $telemetry.config $key) (not (has $batcher $batchers)) -}}
{{- fail (printf "telemetry.config.%s: it is for %s, and telemetry.batcher is %s" $key $batcher $telemetry.batcher) -}}
{{- end -}}
{{- end -}}
{{- with $telemetry.endpoint -}}
{{- $address := printf `^([A-Za-z0-9._-]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})%s$` (ternary "?" "" (eq $telemetry.batcher "otlphttp")) -}}
{{- if contains "$" . -}}
{{- if $controlled -}}
{{- fail (printf "telemetry.endpoint: %q has a variable, which nobody expands where there is a telemetry controller; name the host, or do without the controller" .) -}}
{{- end -}}
{{- else if eq $telemetry.batcher "zipkin" -}}
{{- if not (regexMatch "^https?://[^/?#]+" .) -}}
{{- fail (printf "telemetry.endpoint: %q is not a URL, which zipkin wants, like http://zipkin.example.com:9411/api/v2/spans" .) -}}
{{- end -}}
{{- else if not (regexMatch $address .) -}}
{{- fail (printf "telemetry.endpoint: %q is not host:port, which %s wants; TLS and a path are said in telemetry.config: OtlpGrpcSecure, OtlpHttpSecure, OtlpHttpPath" . $telemetry.batcher) -}}
{{- end -}}
{{- else -}}
{{- if and $.Values.jaeger.enabled (eq $telemetry.batcher "zipkin") -}}
{{- fail "telemetry.batcher: this release's Jaeger does not take zipkin; name the URL of one who does in telemetry.endpoint, or take otlpgrpc or otlphttp" -}}
{{- end -}}
{{- end -}}
{{- if $telemetry.headersSecret -}}
{{- if not $controlled -}}
{{- fail "telemetry.headersSecret: the telemetry controller brings it to the services, and telemetry-controller.enabled is false; use telemetry.overlay.headers" -}}
{{- else if not $object -}}
{{- fail "telemetry.headersSecret: the chart's Telemetry object brings it to the services, and there is none; leave this empty, and name the Secret in exporter.headersFrom of your own" -}}
{{- else if not $block.Endpoint -}}
{{- fail "telemetry.headersSecret: spans are sent nowhere; name the collector in telemetry.endpoint, or leave this empty" -}}
{{- end -}}
{{- end -}}
{{- if not (or (has "otlpgrpc" $batchers) (has "otlphttp" $batchers)) -}}
{{- range $name, $headers := dict "headersSecret" $telemetry.headersSecret "config.OtlpHeaders" $telemetry.config.OtlpHeaders "overlay.headers" $telemetry.overlay.headers -}}
{{- if $headers -}}
{{- fail (printf "telemetry.%s: zipkin sends no headers; set telemetry.batcher to otlpgrpc or otlphttp" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $object $telemetry.config.OtlpHeaders -}}
{{- fail "telemetry.config.OtlpHeaders: a Telemetry object wins over it, and has its headers from a Secret; name one in telemetry.headersSecret, or do without the object, telemetry-controller.default=false" -}}
{{- end -}}
{{- if and $object $block.Endpoint (not $block.Disabled) -}}
{{- $written := concat (include "linktrail.destination" . | fromYaml | keys) (list "Sampler" "OtlpHeaders" "OtlpHttpPath" "OtlpHttpSecure" "OtlpGrpcSecure") -}}
{{- range $component := list "urlApi" "analyticsRpc" "analyticsConsumer" -}}
{{- range $key := keys ((index $.Values $component).config.Telemetry | default dict) | sortAlpha -}}
{{- if has $key $written -}}
{{- fail (printf "%s.config.Telemetry.%s: what a telemetry controller writes wins over it; say it in telemetry, for all services, or in a Telemetry object" $component $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
