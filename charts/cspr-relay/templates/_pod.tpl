{{/* What the containers of the pod have in common. */}}

{{/* Every Secret that is mounted: a map from the directory's name to the Secret's. */}}
{{- define "cspr-relay.secrets" -}}
{{- $all := dict }}
{{- range $name, $secret := .Values.secrets }}
{{- $_ := set $all $name $secret.existingSecret }}
{{- end }}
{{- with .Values.apiKey.existingSecret }}{{ $_ := set $all "api-key" . }}{{ end }}
{{- with .Values.adminToken.existingSecret }}{{ $_ := set $all "admin-token" . }}{{ end }}
{{- toYaml $all }}
{{- end }}

{{- define "cspr-relay.volumes" -}}
- name: config
  configMap:
    name: {{ include "cspr-relay.configMapName" . }}
{{- if .Values.files }}
- name: files
  configMap:
    name: {{ include "cspr-relay.fullname" . }}-files
{{- end }}
{{- range $index, $name := .Values.existingFiles }}
- name: team-{{ $index }}
  configMap:
    name: {{ $name }}
{{- end }}
{{- range $name, $secret := include "cspr-relay.secrets" . | fromYaml }}
- name: secret-{{ $name }}
  secret:
    secretName: {{ $secret }}
    defaultMode: 0440
{{- end }}
{{- if not .Values.persistence.enabled }}
- name: data
  emptyDir: {}
{{- else if .Values.persistence.existingClaim }}
- name: data
  persistentVolumeClaim:
    claimName: {{ .Values.persistence.existingClaim }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Directories and never `subPath`: only those follow a changed ConfigMap or Secret. */}}
{{- define "cspr-relay.volumeMounts" -}}
- name: config
  mountPath: {{ include "cspr-relay.configFile" . | dir }}
  readOnly: true
{{- if .Values.files }}
- name: files
  mountPath: /etc/cspr-relay/files
  readOnly: true
{{- end }}
{{- range $index, $name := .Values.existingFiles }}
- name: team-{{ $index }}
  mountPath: /etc/cspr-relay/teams/{{ $name }}
  readOnly: true
{{- end }}
{{- range $name, $secret := include "cspr-relay.secrets" . | fromYaml }}
- name: secret-{{ $name }}
  mountPath: /run/secrets/{{ $name }}
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* By the first variable any command finds the configuration: `kubectl exec … -- cspr-relay check -v`. */}}
{{- define "cspr-relay.env" -}}
env:
  - name: CSPR_RELAY_CONFIG
    value: {{ include "cspr-relay.configFile" . }}
  - name: CSPR_RELAY_LOG_LEVEL
    value: {{ .Values.log.level | quote }}
  - name: CSPR_RELAY_LOG_JSON
    value: {{ .Values.log.json | quote }}
  {{- with .Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .Values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
