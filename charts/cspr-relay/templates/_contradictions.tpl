{{/* Values that each are right and together cannot be. The StatefulSet includes this, so nothing is rendered then. */}}

{{- define "cspr-relay.refuseContradictions" -}}
{{- if gt (int .Values.replicas) 1 }}
{{- fail "replicas: the store is embedded in the relay, so there can be one replica (or 0, to stop it); for more throughput give that one more CPU" }}
{{- end }}
{{- if and .Values.config .Values.existingConfigMap }}
{{- fail "config and existingConfigMap: the configuration is either in the values or in a ConfigMap of yours; remove one of the two" }}
{{- end }}
{{- if not (or .Values.config .Values.existingConfigMap) }}
{{- fail "config: there is no configuration; set config (with source, sinks and routes) or existingConfigMap" }}
{{- end }}
{{- if .Values.existingConfigMap }}
{{- include "cspr-relay.refuseFilesBesideExisting" . }}
{{- else }}
{{- include "cspr-relay.refuseConfig" . }}
{{- end }}
{{- include "cspr-relay.refuseSecrets" . }}
{{- if and .Values.persistence.existingClaim (not .Values.persistence.enabled) }}
{{- fail "persistence.existingClaim: it is not used while persistence.enabled is false; remove one of the two" }}
{{- end }}
{{- if and .Values.serviceMonitor.enabled .Values.podMonitor.enabled }}
{{- fail "serviceMonitor.enabled and podMonitor.enabled: each sample would be taken twice; enable one of the two" }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) }}
{{- fail "ingress.hosts: name at least one host, or set ingress.enabled to false" }}
{{- end }}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) }}
{{- fail "httpRoute.parentRefs: name at least one gateway, or set httpRoute.enabled to false" }}
{{- end }}
{{- end }}

{{- define "cspr-relay.refuseFilesBesideExisting" -}}
{{- if or .Values.files .Values.existingFiles }}
{{- fail "files and existingFiles: the chart cannot add them to the `include` of existingConfigMap; move its content to config, or mount them with extraVolumes" }}
{{- end }}
{{- end }}

{{- define "cspr-relay.refuseConfig" -}}
{{- $config := .Values.config }}
{{- if not (or $config.routes .Values.files .Values.existingFiles) }}
{{- fail "config.routes: there is no route, so no event would go anywhere; add one to config.routes, files or existingFiles" }}
{{- end }}
{{- if hasKey ($config.store | default dict) "path" }}
{{- fail "config.store.path: the chart sets it to the volume, /data; remove it" }}
{{- end }}
{{- if hasKey ($config.admin | default dict) "listen" }}
{{- fail "config.admin.listen: the chart sets it; use admin.address and admin.port" }}
{{- end }}
{{- if hasKey ($config.admin | default dict) "token" }}
{{- fail "config.admin.token: name a Secret by adminToken.existingSecret instead, so that the token is not in a ConfigMap" }}
{{- end }}
{{- if hasKey $config "shutdown_timeout" }}
{{- fail "config.shutdown_timeout: the chart sets it, 10 s below terminationGracePeriodSeconds; set that instead" }}
{{- end }}
{{- $apiKey := ($config.source | default dict).api_key }}
{{- if and $apiKey .Values.apiKey.existingSecret }}
{{- fail "config.source.api_key and apiKey.existingSecret: both name the key of CSPR.cloud; remove one of the two" }}
{{- end }}
{{- if not (or $apiKey .Values.apiKey.existingSecret) }}
{{- fail "apiKey.existingSecret: name the Secret with the key of CSPR.cloud; kubectl create secret generic cspr-cloud --from-literal=api-key=… makes one" }}
{{- end }}
{{- end }}

{{- define "cspr-relay.refuseSecrets" -}}
{{- range list "api-key" "admin-token" }}
{{- if hasKey $.Values.secrets . }}
{{- fail (printf "secrets.%s: this name is taken by the chart; choose another" .) }}
{{- end }}
{{- end }}
{{- end }}
