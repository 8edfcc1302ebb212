{{/* What connects a process to Kafka. Takes a dict: root, kafka (a service's own credentials). Gives a list of variables. */}}
{{- define "hocket.kafka" -}}
{{- $kafka := mergeOverwrite (deepCopy .root.Values.kafka) (deepCopy (.kafka | default dict)) -}}
- name: HOCKET_BOOTSTRAP
  value: {{ $kafka.bootstrapServers | quote }}
- name: HOCKET_PREFIX
  value: {{ $kafka.prefix | quote }}
- name: HOCKET_PARTITIONS
  value: {{ int $kafka.partitions | quote }}
- name: HOCKET_SECURITY_PROTOCOL
  value: {{ $kafka.securityProtocol | quote }}
{{- if hasPrefix "SASL" $kafka.securityProtocol }}
- name: HOCKET_SASL_MECHANISM
  value: {{ $kafka.sasl.mechanism | quote }}
- name: HOCKET_SASL_USERNAME
  valueFrom: {secretKeyRef: {name: {{ $kafka.sasl.existingSecret }}, key: {{ $kafka.sasl.usernameKey }}}}
- name: HOCKET_SASL_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ $kafka.sasl.existingSecret }}, key: {{ $kafka.sasl.passwordKey }}}}
{{- if $kafka.sasl.tokenUrl }}
- name: HOCKET_SASL_TOKEN_URL
  value: {{ $kafka.sasl.tokenUrl | quote }}
{{- end }}
{{- if $kafka.sasl.scope }}
- name: HOCKET_SASL_SCOPE
  value: {{ $kafka.sasl.scope | quote }}
{{- end }}
{{- end }}
{{- if $kafka.tls.ca.existingSecret }}
- name: HOCKET_SSL_CAFILE
  value: /etc/hocket/kafka-ca/{{ $kafka.tls.ca.key }}
{{- end }}
{{- if $kafka.tls.client.existingSecret }}
- name: HOCKET_SSL_CERTFILE
  value: /etc/hocket/kafka-client/{{ $kafka.tls.client.certKey }}
- name: HOCKET_SSL_KEYFILE
  value: /etc/hocket/kafka-client/{{ $kafka.tls.client.keyKey }}
{{- if $kafka.tls.client.passwordKey }}
- name: HOCKET_SSL_KEY_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ $kafka.tls.client.existingSecret }}, key: {{ $kafka.tls.client.passwordKey }}}}
{{- end }}
{{- end }}
{{- with .root.Values.schemaRegistry }}
{{- if .url }}
- name: HOCKET_REGISTRY_URL
  value: {{ .url | quote }}
- name: HOCKET_REGISTRY_AUTO_REGISTER
  value: {{ .autoRegister | quote }}
{{- if .basicAuth.existingSecret }}
- name: REGISTRY_USERNAME
  valueFrom: {secretKeyRef: {name: {{ .basicAuth.existingSecret }}, key: {{ .basicAuth.usernameKey }}}}
- name: REGISTRY_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ .basicAuth.existingSecret }}, key: {{ .basicAuth.passwordKey }}}}
- name: HOCKET_REGISTRY_BASIC_AUTH
  value: $(REGISTRY_USERNAME):$(REGISTRY_PASSWORD)
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Where payloads go. Takes the root. */}}
{{- define "hocket.blobs" -}}
- name: HOCKET_BLOB_STORE
  value: {{ ternary "file:///var/lib/hocket-blobs" .Values.blobStore.url (ne .Values.blobStore.existingClaim "") | quote }}
{{- with .Values.blobStore.s3 }}
{{- if .endpointUrl }}
- name: AWS_ENDPOINT_URL_S3
  value: {{ .endpointUrl | quote }}
{{- end }}
{{- if .region }}
- name: AWS_DEFAULT_REGION
  value: {{ .region | quote }}
{{- end }}
{{- if .existingSecret }}
- name: AWS_ACCESS_KEY_ID
  valueFrom: {secretKeyRef: {name: {{ .existingSecret }}, key: {{ .accessKeyKey }}}}
- name: AWS_SECRET_ACCESS_KEY
  valueFrom: {secretKeyRef: {name: {{ .existingSecret }}, key: {{ .secretKeyKey }}}}
{{- end }}
{{- end }}
{{- end -}}

{{/* Keys and addresses of model providers. Takes the root. */}}
{{- define "hocket.models" -}}
{{- with .Values.llm.order }}
- name: HOCKET_PROVIDERS
  value: {{ join "," . | quote }}
{{- end }}
{{- range $provider, $own := .Values.llm.providers }}
{{- if $own.existingSecret }}
- name: {{ upper $provider }}_API_KEY
  valueFrom: {secretKeyRef: {name: {{ $own.existingSecret }}, key: {{ $own.secretKey }}}}
{{- end }}
{{- if $own.baseUrl }}
- name: {{ upper $provider }}_BASE_URL
  value: {{ $own.baseUrl | quote }}
{{- end }}
{{- end }}
{{- if .Values.llm.catalogue.existingConfigMap }}
- name: HOCKET_MODELS
  value: /etc/hocket/models/{{ .Values.llm.catalogue.key }}
{{- end }}
{{- end -}}

{{/* What a process writes, and where it finds what is one's own. Takes the root. */}}
{{- define "hocket.places" -}}
- name: HOCKET_DATA
  value: /tmp/hocket
- name: HOME
  value: /tmp
{{- if include "hocket.ownSpecialties" . | fromYaml }}
- name: HOCKET_SPECIALTIES
  value: /etc/hocket/specialties
{{- end }}
{{- if .Values.workflows.existingConfigMap }}
- name: HOCKET_WORKFLOWS
  value: /etc/hocket/workflows
{{- end }}
{{- end -}}

{{/* Mounts that belong to the above. Takes a dict: root, kafka, models, blobs (whether it calls models, reads payloads). */}}
{{- define "hocket.mounts" -}}
{{- $kafka := mergeOverwrite (deepCopy .root.Values.kafka) (deepCopy (.kafka | default dict)) -}}
- {name: tmp, mountPath: /tmp}
{{- if $kafka.tls.ca.existingSecret }}
- {name: kafka-ca, mountPath: /etc/hocket/kafka-ca, readOnly: true}
{{- end }}
{{- if $kafka.tls.client.existingSecret }}
- {name: kafka-client, mountPath: /etc/hocket/kafka-client, readOnly: true}
{{- end }}
{{- if and .blobs .root.Values.blobStore.existingClaim }}
- {name: blobs, mountPath: /var/lib/hocket-blobs}
{{- end }}
{{- range $specialty, $map := include "hocket.ownSpecialties" .root | fromYaml }}
- {name: own-{{ $specialty }}, mountPath: /etc/hocket/specialties/{{ $specialty }}, readOnly: true}
{{- end }}
{{- if .root.Values.workflows.existingConfigMap }}
- {name: workflows, mountPath: /etc/hocket/workflows, readOnly: true}
{{- end }}
{{- if and .models .root.Values.llm.catalogue.existingConfigMap }}
- {name: models, mountPath: /etc/hocket/models, readOnly: true}
{{- end }}
{{- end -}}

{{- define "hocket.volumes" -}}
{{- $kafka := mergeOverwrite (deepCopy .root.Values.kafka) (deepCopy (.kafka | default dict)) -}}
- name: tmp
  emptyDir: {sizeLimit: 2Gi}
{{- with $kafka.tls.ca.existingSecret }}
- name: kafka-ca
  secret: {secretName: {{ . }}}
{{- end }}
{{- with $kafka.tls.client.existingSecret }}
- name: kafka-client
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- if and .blobs .root.Values.blobStore.existingClaim }}
- name: blobs
  persistentVolumeClaim: {claimName: {{ .root.Values.blobStore.existingClaim }}}
{{- end }}
{{- range $specialty, $map := include "hocket.ownSpecialties" .root | fromYaml }}
- name: own-{{ $specialty }}
  configMap: {name: {{ $map }}}
{{- end }}
{{- with .root.Values.workflows.existingConfigMap }}
- name: workflows
  configMap: {name: {{ . }}}
{{- end }}
{{- if .models }}
{{- with .root.Values.llm.catalogue.existingConfigMap }}
- name: models
  configMap: {name: {{ . }}}
{{- end }}
{{- end }}
{{- end -}}

{{/* What all pods of the chart have in common. Takes a dict: root, own (merged values). */}}
{{- define "hocket.podBasics" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.global.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .own.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
securityContext:
  {{- toYaml .own.podSecurityContext | nindent 2 }}
{{- with .own.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .own.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .own.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The variables that the chart sets itself. Takes what hocket.pod takes, and shared. Gives a list. */}}
{{- define "hocket.env" -}}
{{- include "hocket.kafka" .shared }}
{{ include "hocket.blobs" .root }}
{{ include "hocket.places" .root }}
{{- if .own.is.models }}
{{- include "hocket.models" .root }}
{{- end }}
- name: HOCKET_INSTANCE
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: HOCKET_CONCURRENCY
  value: {{ int .own.concurrency | quote }}
- name: HOCKET_GRACE_SECONDS
  value: {{ int .own.maxCallSeconds | quote }}
- name: HOCKET_HTTP_HOST
  value: 0.0.0.0
- name: HOCKET_HTTP_PORT
  value: "8080"
- name: HOCKET_LOG_FORMAT
  value: json
- name: HOCKET_LOG_LEVEL
  value: {{ .own.logLevel | quote }}
{{- if eq .service "aggregator" }}
- name: HOCKET_STATE_DIR
  value: /var/lib/hocket/state
{{- end }}
{{- if eq .service "monitor" }}
- name: HOCKET_SCALING_DRAIN_SECONDS
  value: {{ int .root.Values.autoscaling.targetDrainSeconds | quote }}
- name: HOCKET_SCALING_START_SECONDS
  value: {{ int .root.Values.autoscaling.startSeconds | quote }}
{{- end }}
{{- end -}}

{{/* A pod's annotations: those given, and where wanted what Datadog's agent needs to scrape it. */}}
{{- define "hocket.podAnnotations" -}}
{{- $all := deepCopy (default (dict) .own.podAnnotations) -}}
{{- if .root.Values.monitoring.datadog.enabled -}}
{{- $instance := dict "openmetrics_endpoint" "http://%%host%%:8080/metrics" "namespace" "hocket" "metrics" (list "^hocket_.+") "histogram_buckets_as_distributions" true -}}
{{- $checks := dict "openmetrics" (dict "init_config" (dict) "instances" (list $instance)) -}}
{{- $all = merge $all (dict (printf "ad.datadoghq.com/%s.checks" .service) (toJson $checks)) -}}
{{- end -}}
{{- toYaml $all -}}
{{- end -}}

{{/* A service's pod template. Takes a dict: root, service, own (merged values with `is`). */}}
{{- define "hocket.pod" -}}
{{- $is := .own.is -}}
{{- $grace := int .own.terminationGracePeriodSeconds | default (add (int .own.maxCallSeconds) 30) -}}
{{- $shared := dict "root" .root "kafka" .own.kafka "models" $is.models "blobs" true -}}
metadata:
  labels:
    {{- include "hocket.labels" . | nindent 4 }}
    {{- with .own.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with include "hocket.podAnnotations" . | fromYaml }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "hocket.serviceAccount" .root }}
  {{- include "hocket.podBasics" . | nindent 2 }}
  terminationGracePeriodSeconds: {{ $grace }}
  {{- with .own.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- range . }}
    - {{ toYaml . | nindent 6 | trim }}
      {{- if not .labelSelector }}
      labelSelector:
        matchLabels:
          {{- include "hocket.selector" $ | nindent 10 }}
      {{- end }}
    {{- end }}
  {{- end }}
  containers:
    - name: {{ .service }}
      image: {{ include "hocket.image" . | quote }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      # Arguments only: the image's entry point passes signals on.
      args: {{ toJson $is.command }}
      env:
        {{- $fixed := include "hocket.env" (merge (dict "shared" $shared) .) }}
        {{- $fixed | nindent 8 }}
        {{- range $fixed | fromYamlArray }}
        {{- /* Helm 4 applies on the server, which refuses a variable that is there twice. */}}
        {{- if hasKey $.own.env .name }}
        {{- fail (printf "%s: env has %s, which the chart sets from a value of its own: set that one, and take %s out of env" $.service .name .name) }}
        {{- end }}
        {{- end }}
        {{- range $name, $value := .own.env }}
        - name: {{ $name }}
          value: {{ $value | quote }}
        {{- end }}
      {{- with .own.envFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - {name: http, containerPort: 8080}
      startupProbe:
        httpGet: {path: /startup, port: http}
        {{- toYaml .own.startupProbe | nindent 8 }}
      readinessProbe:
        httpGet: {path: /ready, port: http}
        {{- toYaml .own.readinessProbe | nindent 8 }}
      livenessProbe:
        httpGet: {path: /live, port: http}
        {{- toYaml .own.livenessProbe | nindent 8 }}
      securityContext:
        {{- toYaml .own.securityContext | nindent 8 }}
      resources:
        {{- toYaml .own.resources | nindent 8 }}
      volumeMounts:
        {{- include "hocket.mounts" $shared | nindent 8 }}
        {{- if eq .service "aggregator" }}
        - {name: state, mountPath: /var/lib/hocket}
        {{- end }}
        {{- with .own.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    {{- include "hocket.volumes" $shared | nindent 4 }}
    {{- if and (eq .service "aggregator") (not .own.persistence.enabled) }}
    - name: state
      emptyDir: {sizeLimit: {{ .own.persistence.size }}}
    {{- end }}
    {{- with .own.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* A pod that runs the command line once. Takes a dict: root, name, own (defaults), command, kafka, resources, blobs, restartPolicy. */}}
{{- define "hocket.oneShot" -}}
{{- $shared := dict "root" .root "kafka" .kafka "models" false "blobs" .blobs -}}
{{- include "hocket.podBasics" . }}
restartPolicy: {{ .restartPolicy }}
containers:
  - name: {{ .name }}
    image: {{ include "hocket.image" . | quote }}
    imagePullPolicy: {{ .root.Values.image.pullPolicy }}
    args: {{ toRawJson .command }}
    env:
      {{- include "hocket.kafka" $shared | nindent 6 }}
      {{- if .blobs }}
      {{- include "hocket.blobs" .root | nindent 6 }}
      {{- end }}
      {{- include "hocket.places" .root | nindent 6 }}
      {{- if int .root.Values.topics.replicationFactor }}
      - name: HOCKET_REPLICATION
        value: {{ int .root.Values.topics.replicationFactor | quote }}
      {{- end }}
    securityContext:
      {{- toYaml .own.securityContext | nindent 6 }}
    resources:
      {{- toYaml .resources | nindent 6 }}
    volumeMounts:
      {{- include "hocket.mounts" $shared | nindent 6 }}
volumes:
  {{- include "hocket.volumes" $shared | nindent 2 }}
{{- end -}}
