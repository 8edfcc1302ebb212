{{/* What the schema cannot say in a sentence. Fails, or gives nothing. */}}
{{- define "hocket.validate" -}}
{{- $v := .Values -}}
{{- if not $v.kafka.bootstrapServers -}}
{{- fail "kafka.bootstrapServers is required: set it to host:port of your Kafka cluster" -}}
{{- end -}}
{{- if not (regexMatch "^[A-Za-z0-9_-]*$" $v.kafka.prefix) -}}
{{- fail (printf "kafka.prefix is %q: use letters, digits, - and _ only (no dots: Kafka's metrics cannot tell them from _)" $v.kafka.prefix) -}}
{{- end -}}
{{- if and (not $v.blobStore.url) (not $v.blobStore.existingClaim) -}}
{{- fail "blobStore is required: set blobStore.url to a place that every pod reaches, such as s3://bucket/hocket, or blobStore.existingClaim to a ReadWriteMany claim" -}}
{{- end -}}
{{- if and $v.blobStore.url $v.blobStore.existingClaim -}}
{{- fail "blobStore.url and blobStore.existingClaim are both set: keep one of them" -}}
{{- end -}}
{{- if hasPrefix "file:" $v.blobStore.url -}}
{{- fail "blobStore.url is a folder inside the pod, which no other pod sees: set blobStore.existingClaim instead" -}}
{{- end -}}
{{- if and (eq $v.topics.provisioning "strimzi") (not $v.topics.strimzi.cluster) -}}
{{- fail "topics.provisioning is strimzi: set topics.strimzi.cluster to the name of your Kafka resource" -}}
{{- end -}}
{{- $tasks := int $v.topics.taskPartitions | default (int $v.kafka.partitions) -}}
{{- if and $v.monitoring.podMonitor.enabled $v.monitoring.serviceMonitor.enabled -}}
{{- fail "monitoring.podMonitor and monitoring.serviceMonitor are both enabled, so everything would be scraped twice: keep one of them" -}}
{{- end -}}
{{- if and (eq $v.autoscaling.signal "kafka") (eq (include "hocket.scaler" .) "keda") (eq $v.kafka.sasl.mechanism "OAUTHBEARER") -}}
{{- fail "autoscaling.signal is kafka, for which KEDA would have to log in with OAUTHBEARER, and that is not rendered: use autoscaling.signal monitor" -}}
{{- end -}}
{{- $scaled := ne (include "hocket.scaler" .) "none" -}}
{{- if and $scaled (eq $v.autoscaling.signal "monitor") (eq (toString $v.monitor.enabled) "false") -}}
{{- fail "autoscaling.signal is monitor, and monitor.enabled is false: leave the monitor in, or set autoscaling.signal to kafka or autoscaling.mode to none" -}}
{{- end -}}
{{- if and $scaled (le (int $v.autoscaling.targetDrainSeconds) (int $v.autoscaling.startSeconds)) -}}
{{- fail (printf "autoscaling.targetDrainSeconds is %d, but a new pod works only after about %d s (autoscaling.startSeconds): set it well above that" (int $v.autoscaling.targetDrainSeconds) (int $v.autoscaling.startSeconds)) -}}
{{- end -}}
{{- $contract := .Files.Get "files/contract.json" | fromJson -}}
{{- range $specialty, $own := $v.workers -}}
{{- if not (regexMatch "^[a-z][a-z0-9-]{1,39}$" $specialty) -}}
{{- fail (printf "workers.%s cannot be a specialty: use 2 to 40 small letters, digits and -" $specialty) -}}
{{- end -}}
{{- $left := and $own (eq (toString $own.enabled) "false") -}}
{{- if and (not $left) (not (has $specialty $contract.specialties)) (not (and $own $own.configMap)) -}}
{{- fail (printf "workers.%s is no built-in specialty (there are %s): set workers.%s.configMap to a ConfigMap with its folder, made by `kubectl create configmap NAME --from-file DIR`" $specialty (join ", " $contract.specialties) $specialty) -}}
{{- end -}}
{{- end -}}
{{- $jobs := dict "topics.job" (dict "kafka" $v.topics.job.kafka) "tests" (dict "kafka" $v.tests.kafka) -}}
{{- range $name, $own := merge $jobs (include "hocket.services" . | fromYaml) -}}
{{- include "hocket.validate.kafka" (dict "root" $ "name" $name "own" $own) -}}
{{- if $own.is -}}
{{- include "hocket.validate.service" (dict "root" $ "name" $name "own" $own) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Credentials and protocol fit. Takes a dict: root, name, own. */}}
{{- define "hocket.validate.kafka" -}}
{{- $kafka := mergeOverwrite (deepCopy .root.Values.kafka) (deepCopy (.own.kafka | default dict)) -}}
{{- $protocol := $kafka.securityProtocol -}}
{{- if and (hasPrefix "SASL" $protocol) (not $kafka.sasl.existingSecret) -}}
{{- fail (printf "%s: kafka.securityProtocol is %s: set kafka.sasl.existingSecret to a Secret with user name and password" .name $protocol) -}}
{{- end -}}
{{- if and (hasPrefix "SASL" $protocol) (eq $kafka.sasl.mechanism "OAUTHBEARER") (not $kafka.sasl.tokenUrl) -}}
{{- fail (printf "%s: kafka.sasl.mechanism is OAUTHBEARER: set kafka.sasl.tokenUrl to where its tokens come from" .name) -}}
{{- end -}}
{{- if and $kafka.sasl.existingSecret (not (hasPrefix "SASL" $protocol)) -}}
{{- fail (printf "%s: kafka.sasl.existingSecret is set, but kafka.securityProtocol is %s: use SASL_SSL" .name $protocol) -}}
{{- end -}}
{{- if and (or $kafka.tls.client.existingSecret $kafka.tls.ca.existingSecret) (not (contains "SSL" $protocol)) -}}
{{- fail (printf "%s: kafka.tls is set, but kafka.securityProtocol is %s: use SSL or SASL_SSL" .name $protocol) -}}
{{- end -}}
{{- end -}}

{{/* Grace and replicas. Takes a dict: root, name, own. */}}
{{- define "hocket.validate.service" -}}
{{- $grace := int .own.terminationGracePeriodSeconds -}}
{{- $least := add (int .own.maxCallSeconds) 10 -}}
{{- if and $grace (lt $grace (int $least)) -}}
{{- fail (printf "%s: terminationGracePeriodSeconds is %d, and a call may take %d s (maxCallSeconds): set at least %d, or pods are killed while they work" .name $grace (int .own.maxCallSeconds) $least) -}}
{{- end -}}
{{- $partitions := int .own.is.partitions -}}
{{- $where := ternary "kafka.partitions" "topics.taskPartitions or kafka.partitions" (eq .name "aggregator") -}}
{{- if and (not .own.is.scaled) (ne .name "monitor") (gt (int .own.replicas) $partitions) -}}
{{- fail (printf "%s: replicas is %d, but its topic has %d partitions (%s), and more pods than that get no work" .name (int .own.replicas) $partitions $where) -}}
{{- end -}}
{{- if .own.is.scaled -}}
{{- $min := int .own.autoscaling.minReplicas -}}
{{- $max := int .own.autoscaling.maxReplicas | default $partitions -}}
{{- if gt $max $partitions -}}
{{- fail (printf "%s: autoscaling.maxReplicas is %d, but its topic has %d partitions (%s), and more pods than that get no work: lower it, or grow the task topics" .name $max $partitions $where) -}}
{{- end -}}
{{- if gt $min $max -}}
{{- fail (printf "%s: autoscaling.minReplicas is %d and maxReplicas %d: the least cannot be above the most" .name $min $max) -}}
{{- end -}}
{{- if and (eq $min 0) (eq (include "hocket.scaler" .root) "hpa") (not (semverCompare ">=1.37-0" .root.Capabilities.KubeVersion.Version)) -}}
{{- fail (printf "%s: autoscaling.minReplicas is 0, which an HPA can do from Kubernetes 1.37 on (this is %s): set 1, or use KEDA" .name .root.Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- end -}}
{{- end -}}
