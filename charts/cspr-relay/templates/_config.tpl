{{/* The relay's configuration: what the user wrote, and what only the chart can know. */}}

{{/* Where things are in the pod. */}}
{{- define "cspr-relay.configFile" -}}/etc/cspr-relay/config/cspr-relay.yaml{{- end }}

{{- define "cspr-relay.configMapName" -}}
{{- default (include "cspr-relay.fullname" .) .Values.existingConfigMap }}
{{- end }}

{{- define "cspr-relay.listen" -}}
{{- $address := .Values.admin.address }}
{{- printf (ternary "[%s]:%v" "%s:%v" (contains ":" $address)) $address .Values.admin.port }}
{{- end }}

{{/* YAML. What the user wrote goes through no template. */}}
{{- define "cspr-relay.config" -}}
{{- $config := deepCopy .Values.config }}
{{- $admin := dict "listen" (include "cspr-relay.listen" .) }}
{{- if .Values.adminToken.existingSecret }}
{{- $_ := set $admin "token" (printf "${file:/run/secrets/admin-token/%s}" .Values.adminToken.key) }}
{{- end }}
{{- $source := dict }}
{{- if .Values.apiKey.existingSecret }}
{{- $_ := set $source "api_key" (printf "${file:/run/secrets/api-key/%s}" .Values.apiKey.key) }}
{{- end }}
{{- $include := $config.include | default list }}
{{- if .Values.files }}
{{- $include = append $include "/etc/cspr-relay/files/*.yaml" }}
{{- end }}
{{- range .Values.existingFiles }}
{{- $include = append $include (printf "/etc/cspr-relay/teams/%s/*.yaml" .) }}
{{- end }}
{{- $own := dict "source" $source "store" (dict "path" "/data") "admin" $admin }}
{{- $_ := set $own "shutdown_timeout" (printf "%ds" (sub .Values.terminationGracePeriodSeconds 10)) }}
{{- $_ := set $own "include" $include }}
{{- toYaml (mustMergeOverwrite $config $own) }}
{{- end }}

{{/* Changes with what the chart renders into ConfigMaps. */}}
{{- define "cspr-relay.configHash" -}}
{{- printf "%s\n%s" (toYaml .Values.config) (toYaml .Values.files) | sha256sum }}
{{- end }}
