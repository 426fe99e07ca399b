{{/* The variables of the programs, as lines of a config map. Nothing here is secret. */}}

{{- define "nexus.environment.log" -}}
LOG_LEVEL: {{ .Values.logging.level | quote }}
LOG_FORMAT: {{ .Values.logging.format | quote }}
{{- end }}

{{/* Where etcd is and how it is spoken to: what programs and backups share. */}}
{{- define "nexus.environment.etcd" -}}
{{- $etcd := .root.Values.etcd -}}
ETCD_ENDPOINTS: {{ join "," $etcd.endpoints | quote }}
{{- if include "nexus.etcdTlsSecret" . }}
ETCD_CA_FILE: /etc/nexus/tls/etcd/ca.crt
{{- if $etcd.tls.clientCertificate }}
ETCD_CERT_FILE: /etc/nexus/tls/etcd/tls.crt
ETCD_KEY_FILE: /etc/nexus/tls/etcd/tls.key
{{- end }}
{{- end }}
{{- if $etcd.auth.secret }}
ETCD_USER: {{ get $etcd.auth.users .component | quote }}
ETCD_PASSWORD_FILE: /etc/nexus/etcd/password
{{- end }}
{{- end }}

{{/* Where the queue of this release is: for operators' programs, too. */}}
{{- define "nexus.environment.queue" -}}
{{- $values := .root.Values -}}
CLUSTER_ID: {{ $values.clusterId | quote }}
{{ include "nexus.environment.etcd" . }}
MESSAGE_QUEUE_PREFIX: {{ $values.etcd.queuePrefix | quote }}
MAX_TXN_OPS: {{ $values.etcd.maxTxnOps | int64 | quote }}
{{- end }}

{{- define "nexus.environment.common" -}}
{{ include "nexus.environment.queue" . }}
{{ include "nexus.environment.log" .root }}
{{- with .root.Values.tracing.endpoint }}
OTEL_EXPORTER_OTLP_ENDPOINT: {{ . | quote }}
{{- end }}
{{- end }}

{{/* Where PostgreSQL is; "user" is one of postgresql.auth. */}}
{{- define "nexus.environment.postgresql" -}}
{{- $postgresql := .root.Values.postgresql -}}
DB_HOST: {{ $postgresql.host | quote }}
DB_PORT: {{ $postgresql.port | int64 | quote }}
DB_NAME: {{ $postgresql.database | quote }}
DB_USER: {{ (get $postgresql.auth .user).user | quote }}
DB_PASSWORD_FILE: /etc/nexus/postgresql/password
DB_SSLMODE: {{ $postgresql.sslmode | quote }}
{{- if $postgresql.tls.secret }}
DB_CA_FILE: /etc/nexus/tls/postgresql/ca.crt
{{- if $postgresql.tls.clientCertificate }}
DB_CERT_FILE: /etc/nexus/tls/postgresql/tls.crt
DB_KEY_FILE: /etc/nexus/tls/postgresql/tls.key
{{- end }}
{{- end }}
{{- end }}

{{/* Of the programs that keep connections: the job has made the tables, so they do not. */}}
{{- define "nexus.environment.database" -}}
{{ include "nexus.environment.postgresql" . }}
DB_STARTUP_TIMEOUT: {{ .root.Values.postgresql.startupTimeout | quote }}
DB_MIGRATE: {{ not .root.Values.migrate.enabled | quote }}
{{- end }}

{{- define "nexus.environment.conditions" -}}
{{- $names := dict "staleAfter" "STALE_AFTER" "hotCelsius" "HOT_CELSIUS" "hotFor" "HOT_FOR" "criticalCelsius" "CRITICAL_CELSIUS"
  "criticalFor" "CRITICAL_FOR" "idleMemoryMib" "IDLE_MEMORY_MIB" "idleFor" "IDLE_FOR" "xidGap" "XID_GAP" -}}
{{- range $value, $name := $names }}
{{- $given := get $.Values.conditions $value }}
{{- if ne (toString $given) "" }}
{{ $name }}: {{ toString $given | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* A component's variables: the chart's, and over them those that the user adds. */}}
{{- define "nexus.variables" -}}
{{- $all := fromYaml .base -}}
{{- range $name, $value := .extra }}
{{- $_ := set $all $name $value }}
{{- end }}
{{- toYaml $all }}
{{- end }}

{{/* Lines of a config map as a container's env. */}}
{{- define "nexus.asList" -}}
{{- range $name, $value := fromYaml . }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}
