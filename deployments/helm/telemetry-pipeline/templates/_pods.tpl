{{/* What pods have in common. */}}

{{/* Restricted, in the words of the Pod Security Standards. */}}
{{- define "nexus.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "nexus.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* The beginning of every pod's spec. */}}
{{- define "nexus.podSpec" -}}
serviceAccountName: {{ include "nexus.serviceAccount" . }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Where a component's pods go: apart from each other, over hosts and zones, as far as there are some. */}}
{{- define "nexus.placement" -}}
{{- $own := get .root.Values .component -}}
{{- with $own.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $own.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if $own.affinity }}
affinity:
  {{- toYaml $own.affinity | nindent 2 }}
{{- else if not .everyNode }}
affinity:
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "nexus.selector" . | nindent 14 }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: topology.kubernetes.io/zone
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "nexus.selector" . | nindent 8 }}
{{- end }}
{{- end }}

{{/* Probes at the port named "http": 2 min to come up, dead after 30 s of silence, out of service while it cannot work. */}}
{{- define "nexus.probes" -}}
{{- $scheme := .scheme | default "HTTP" -}}
startupProbe:
  httpGet: {path: /live, port: http, scheme: {{ $scheme }}}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /live, port: http, scheme: {{ $scheme }}}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /ready, port: http, scheme: {{ $scheme }}}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
{{- end }}

{{/* Certificates and passwords: files that the programs read again when they change. "user" is one of postgresql.auth, where
the component speaks to PostgreSQL; "etcd" says that it speaks to etcd. */}}
{{- define "nexus.secretMounts" -}}
{{- if and .etcd (include "nexus.etcdTlsSecret" .) }}
- {name: etcd-tls, mountPath: /etc/nexus/tls/etcd, readOnly: true}
{{- end }}
{{- if and .etcd .root.Values.etcd.auth.secret }}
- {name: etcd-password, mountPath: /etc/nexus/etcd, readOnly: true}
{{- end }}
{{- if .user }}
- {name: postgresql-password, mountPath: /etc/nexus/postgresql, readOnly: true}
{{- if .root.Values.postgresql.tls.secret }}
- {name: postgresql-tls, mountPath: /etc/nexus/tls/postgresql, readOnly: true}
{{- end }}
{{- end }}
{{- end }}

{{- define "nexus.secretVolumes" -}}
{{- if and .etcd (include "nexus.etcdTlsSecret" .) }}
- name: etcd-tls
  secret: {secretName: {{ include "nexus.etcdTlsSecret" . }}, defaultMode: 0440}
{{- end }}
{{- if and .etcd .root.Values.etcd.auth.secret }}
- name: etcd-password
  secret:
    secretName: {{ .root.Values.etcd.auth.secret }}
    defaultMode: 0440
    items: [{key: {{ .component }}, path: password}]
{{- end }}
{{- if .user }}
- name: postgresql-password
  secret:
    secretName: {{ include "nexus.databaseSecret" .root }}
    defaultMode: 0440
    items: [{key: {{ (get .root.Values.postgresql.auth .user).key }}, path: password}]
{{- with .root.Values.postgresql.tls.secret }}
- name: postgresql-tls
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- end }}
{{- end }}

{{/* Annotations of a pod: those given, and what makes it start anew when its config map changes. */}}
{{- define "nexus.podAnnotations" -}}
{{- $own := get .root.Values .component -}}
checksum/config: {{ include (printf "nexus.config.%s" .component) .root | sha256sum }}
{{- with $own.podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end }}
