{{- define "hocket.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "hocket.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "hocket.name" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* Labels by which a service's pods are found. Takes a dict: root, service. */}}
{{- define "hocket.selector" -}}
app.kubernetes.io/name: hocket
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .service }}
{{- end -}}

{{- define "hocket.labels" -}}
{{ include "hocket.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* What every value of a service is: its own where it has one, the default otherwise. Gives YAML. */}}
{{- define "hocket.merged" -}}
{{- toYaml (mergeOverwrite (deepCopy .root.Values.default) (deepCopy (.own | default dict))) -}}
{{- end -}}

{{- define "hocket.env" -}}
- name: HOCKET_BOOTSTRAP
  value: {{ required "kafka.bootstrapServers is required: set it to host:port of your Kafka cluster" .root.Values.kafka.bootstrapServers | quote }}
- name: HOCKET_PREFIX
  value: {{ .root.Values.kafka.prefix | quote }}
- name: HOCKET_PARTITIONS
  value: {{ .root.Values.kafka.partitions | quote }}
- name: HOCKET_SECURITY_PROTOCOL
  value: {{ .root.Values.kafka.securityProtocol | quote }}
{{- with .root.Values.kafka.saslSecret }}
- name: HOCKET_SASL_MECHANISM
  value: {{ $.root.Values.kafka.saslMechanism | quote }}
- name: HOCKET_SASL_USERNAME
  valueFrom: {secretKeyRef: {name: {{ . }}, key: username}}
- name: HOCKET_SASL_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ . }}, key: password}}
{{- end }}
{{- with .root.Values.schemaRegistry.url }}
- name: HOCKET_REGISTRY_URL
  value: {{ . | quote }}
{{- end }}
- name: HOCKET_BLOB_STORE
  value: {{ required "blobStore is required: set it to an fsspec URL that every pod reaches, such as s3://bucket/hocket" .root.Values.blobStore | quote }}
- name: HOCKET_INSTANCE
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: HOCKET_CONCURRENCY
  value: {{ .own.concurrency | quote }}
- name: HOCKET_GRACE_SECONDS
  value: {{ .own.graceSeconds | quote }}
- name: HOCKET_HTTP_HOST
  value: 0.0.0.0
- name: HOCKET_HTTP_PORT
  value: "8080"
- name: HOCKET_LOG_FORMAT
  value: json
- name: HOCKET_LOG_LEVEL
  value: {{ .own.logLevel | quote }}
- name: HOCKET_DATA
  value: /tmp/hocket
{{- range $name, $value := .own.env }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end -}}

{{/* A service's pod template. Takes a dict: root, service, own (merged values), command, env (list), state, models (bool). */}}
{{- define "hocket.pod" -}}
metadata:
  labels:
    {{- include "hocket.labels" . | nindent 4 }}
  {{- with .own.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "hocket.serviceAccount" .root }}
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: {{ add (int .own.graceSeconds) 15 }}
  {{- with .root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    seccompProfile: {type: RuntimeDefault}
  containers:
    - name: {{ .service }}
      image: {{ printf "%s:%s" .root.Values.image.repository (.root.Values.image.tag | default .root.Chart.AppVersion) | quote }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      command: {{ toJson .command }}
      env:
        {{- include "hocket.env" . | nindent 8 }}
        {{- with .env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- if and .models .root.Values.modelsSecret }}
      envFrom:
        - secretRef: {name: {{ .root.Values.modelsSecret }}}
      {{- end }}
      ports:
        - {name: http, containerPort: 8080}
      startupProbe:
        httpGet: {path: /startup, port: http}
        periodSeconds: 2
        failureThreshold: 90
      readinessProbe:
        httpGet: {path: /ready, port: http}
        periodSeconds: 5
      livenessProbe:
        httpGet: {path: /live, port: http}
        periodSeconds: 10
        failureThreshold: 6
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      resources:
        {{- toYaml .own.resources | nindent 8 }}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        {{- if .state }}
        - {name: state, mountPath: /var/lib/hocket}
        {{- end }}
  volumes:
    - name: tmp
      emptyDir: {}
  {{- with .own.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .own.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .own.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
