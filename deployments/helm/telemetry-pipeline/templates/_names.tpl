{{/* Names and labels. Most take (dict "root" $ "component" "collector"). */}}

{{- define "nexus.fullname" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "nexus.name" -}}
{{ include "nexus.fullname" .root }}-{{ .component }}
{{- end }}

{{/* What selects a component's pods: never changed, because selectors cannot be. */}}
{{- define "nexus.selector" -}}
app.kubernetes.io/name: nexus
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "nexus.labels" -}}
app: nexus-pipeline
{{ include "nexus.selector" . }}
app.kubernetes.io/part-of: nexus-pipeline
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{/* Beginning of every object: its name and labels. */}}
{{- define "nexus.metadata" -}}
name: {{ include "nexus.name" . }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "nexus.labels" . | nindent 2 }}
{{- end }}

{{- define "nexus.image" -}}
{{- $image := .root.Values.image -}}
{{- with $image.registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{- get $image.names .image }}:{{ $image.tag | default .root.Chart.AppVersion -}}
{{- end }}

{{- define "nexus.serviceAccount" -}}
{{- if .root.Values.serviceAccount.create -}}
{{ include "nexus.name" . }}
{{- else -}}
{{ .root.Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end }}

{{/* The secret with the passwords of PostgreSQL's users. */}}
{{- define "nexus.databaseSecret" -}}
{{ .Values.postgresql.auth.existingSecret | default "nexus-postgresql" }}
{{- end }}

{{- define "nexus.keysSecret" -}}
{{ .Values.gateway.keys.existingSecret | default (printf "%s-keys" (include "nexus.fullname" .)) }}
{{- end }}

{{/* Whether the gateway has a file of keys. */}}
{{- define "nexus.hasKeys" -}}
{{- if or .Values.gateway.keys.existingSecret (not .Values.gateway.keys.anonymous) }}yes{{ end -}}
{{- end }}

{{/* The certificates' secret for etcd of a component. */}}
{{- define "nexus.etcdTlsSecret" -}}
{{ get .root.Values.etcd.tls.secrets .component | default .root.Values.etcd.tls.secret }}
{{- end }}

{{/* An address with a port behind it. */}}
{{- define "nexus.listen" -}}
{{- if contains ":" .address }}[{{ .address }}]{{ else }}{{ .address }}{{ end }}:{{ .port -}}
{{- end }}

{{- define "nexus.port.streamer" }}9101{{ end }}
{{- define "nexus.port.collector" }}9102{{ end }}
{{- define "nexus.port.gateway" }}8080{{ end }}
