{{/* Names. */}}
{{- define "hocket.name" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "hocket.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "hocket.name" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* Labels of everything of this release. */}}
{{- define "hocket.common" -}}
app.kubernetes.io/name: hocket
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Labels by which a service's pods are found. Takes a dict: root, service. */}}
{{- define "hocket.selector" -}}
app.kubernetes.io/name: hocket
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .service }}
{{- end -}}

{{- define "hocket.labels" -}}
{{ include "hocket.common" .root }}
app.kubernetes.io/component: {{ .service }}
{{- end -}}

{{/* What every value of a service is: its own where it has one, the default otherwise. Gives YAML. */}}
{{- define "hocket.merged" -}}
{{- toYaml (mergeOverwrite (deepCopy .root.Values.default) (deepCopy (.own | default dict))) -}}
{{- end -}}

{{/*
Every service that is enabled, as YAML: its name to its merged values, and in `is` what the chart knows of it: kind,
command, group, topic, specialty, partitions (the most replicas that have work), models (whether it calls any).
*/}}
{{- define "hocket.services" -}}
{{- $root := . -}}
{{- $prefix := .Values.kafka.prefix -}}
{{- $joined := int .Values.kafka.partitions -}}
{{- $tasks := int .Values.topics.taskPartitions | default $joined -}}
{{- $found := dict -}}
{{- $given := dict "planner" .Values.planner "aggregator" .Values.aggregator "monitor" .Values.monitor -}}
{{- $is := dict
  "planner" (dict "kind" "Deployment" "command" (list "hocket-planner") "group" "hocket-planner" "topic" "tasks-planning" "specialty" "planning" "partitions" $tasks "models" true)
  "aggregator" (dict "kind" "StatefulSet" "command" (list "hocket-aggregator") "group" "hocket-aggregator" "specialty" "" "partitions" $joined "models" false)
  "monitor" (dict "kind" "Deployment" "command" (list "hocket-monitor") "group" "hocket-monitor" "specialty" "" "partitions" 1 "models" false) -}}
{{- range $specialty, $own := .Values.workers -}}
{{- $name := printf "worker-%s" $specialty -}}
{{- $_ := set $given $name $own -}}
{{- $_ := set $is $name (dict "kind" "Deployment" "command" (list "hocket-worker" "--specialty" $specialty) "group" (printf "hocket-%s" $name) "topic" (printf "tasks-%s" $specialty) "specialty" $specialty "partitions" $tasks "models" true) -}}
{{- end -}}
{{- range $name, $own := $given -}}
{{- $merged := include "hocket.merged" (dict "root" $root "own" $own) | fromYaml -}}
{{- if ne (toString $merged.enabled) "false" -}}
{{- $_ := set $merged "is" (get $is $name) -}}
{{- $_ := set $merged.is "group" (printf "%s%s" $prefix $merged.is.group) -}}
{{- if $merged.is.topic -}}{{- $_ := set $merged.is "topic" (printf "%s%s" $prefix $merged.is.topic) -}}{{- end -}}
{{- $_ := set $merged.is "scaled" (and (ne (include "hocket.scaler" $root) "none") $merged.autoscaling.enabled (ne $name "monitor")) -}}
{{- $_ := set $found $name $merged -}}
{{- end -}}
{{- end -}}
{{- toYaml $found -}}
{{- end -}}

{{/* Who scales: keda, hpa or none. */}}
{{- define "hocket.scaler" -}}
{{- if ne .Values.autoscaling.mode "auto" -}}
{{- .Values.autoscaling.mode -}}
{{- else if .Capabilities.APIVersions.Has "keda.sh/v1alpha1" -}}
keda
{{- else -}}
hpa
{{- end -}}
{{- end -}}

{{- define "hocket.image" -}}
{{- $image := mergeOverwrite (deepCopy .root.Values.image) (deepCopy (.own.image | default dict)) -}}
{{- $registry := .root.Values.global.imageRegistry | default $image.registry -}}
{{- $name := ternary (printf "%s/%s" (trimSuffix "/" $registry) $image.repository) $image.repository (ne $registry "") -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (toString ($image.tag | default .root.Chart.AppVersion)) -}}
{{- end -}}
{{- end -}}

{{/* Names of the ConfigMaps that bring specialties of one's own, by specialty. Gives YAML. */}}
{{- define "hocket.ownSpecialties" -}}
{{- $found := dict -}}
{{- range $specialty, $own := .Values.workers -}}
{{- with $own -}}
{{- if and .configMap (ne (toString .enabled) "false") -}}{{- $_ := set $found $specialty .configMap -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $found -}}
{{- end -}}
