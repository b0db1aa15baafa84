{{- define "culvert.name" -}}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{- end }}

{{- define "culvert.selector" -}}
app.kubernetes.io/name: culvert
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "culvert.labels" -}}
{{ include "culvert.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- define "culvert.image" -}}{{ .root.Values.images.registry }}/{{ .part }}:{{ .root.Values.images.tag | default .root.Chart.AppVersion }}{{- end }}

{{/* The host names are complete: nginx does not complete them. */}}
{{- define "culvert.redis" -}}
{{- if .Values.redis.enabled }}{{ include "culvert.name" . }}-redis.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}:6379
{{- else }}{{ required "redis.address is needed where redis.enabled is false" .Values.redis.address }}{{ end }}
{{- end }}
{{- define "culvert.nats" -}}
{{- if .Values.nats.enabled }}{{ include "culvert.name" . }}-nats.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}:4222
{{- else }}{{ required "nats.address is needed where nats.enabled is false" .Values.nats.address }}{{ end }}
{{- end }}

{{- define "culvert.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ .user }}
runAsGroup: {{ .user }}
fsGroup: {{ .user }}
seccompProfile: { type: RuntimeDefault }
{{- end }}
{{- define "culvert.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{/* What all of our pods have in common above their containers. */}}
{{- define "culvert.podMeta" -}}
labels:
  {{- include "culvert.labels" . | nindent 2 }}
annotations:
  checksum/secrets: {{ .root.Values.secrets | toJson | sha256sum | trunc 16 }}
  {{- if .root.Values.prometheusAnnotations }}
  prometheus.io/scrape: 'true'
  prometheus.io/port: '9100'
  {{- end }}
{{- end }}
{{- define "culvert.podSpec" -}}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: {{ .root.Values.terminationGracePeriodSeconds }}
securityContext:
  {{- include "culvert.podSecurity" . | nindent 2 }}
{{- with .root.Values.images.pullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations: {{ toJson . }}
{{- end }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "culvert.selector" . | nindent 8 }}
{{- end }}

{{- define "culvert.publicHost" -}}
{{ .Values.publicHost | default (printf "{listener}.tcp.%s" .Values.domain) }}
{{- end }}

{{/* Where devices open transfers past the edge: one name a listener, or one listener. */}}
{{- define "culvert.transferHost" -}}
{{- $host := .Values.tcpListener.transfers.host | default (include "culvert.publicHost" .) }}
{{- if and (gt (int .Values.tcpListener.replicas) 1) (not (contains "{listener}" $host)) }}{{ fail (printf "tcpListener.transfers.host: %s stands for %d listeners; expected a name with {listener}, for an address each" $host (int .Values.tcpListener.replicas)) }}{{ end }}
{{- $host }}
{{- end }}

{{- define "culvert.env" -}}
{{- $v := .root.Values }}
- name: POD_IP
  valueFrom: { fieldRef: { fieldPath: status.podIP } }
- name: CULVERT_INSTANCE_ID
  valueFrom: { fieldRef: { fieldPath: metadata.name } }
- { name: CULVERT_HEALTH_HOST, value: $(POD_IP) }
- { name: CULVERT_DOMAIN, value: {{ $v.domain | quote }} }
- { name: CULVERT_PUBLIC_HOST, value: {{ include "culvert.publicHost" .root | quote }} }
- { name: CULVERT_PUBLIC_PORT, value: {{ $v.publicPort | quote }} }
- { name: CULVERT_PUBLIC_SCHEME, value: https }
- { name: CULVERT_ACCESS, value: {{ $v.access | quote }} }
- { name: CULVERT_GRACE, value: {{ $v.grace | quote }} }
- { name: CULVERT_HEARTBEAT, value: {{ $v.heartbeat | quote }} }
- { name: CULVERT_LOG_LEVEL, value: {{ $v.logLevel | quote }} }
- { name: CULVERT_REDIS_URL_FILE, value: /secrets/redis-url }
{{- with $v.otlpUrl }}
- { name: CULVERT_OTLP_URL, value: {{ . | quote }} }
{{- end }}
{{- with $v.podNetworks }}
- { name: CULVERT_EDGE_NETWORKS, value: {{ . | quote }} }
{{- end }}
{{- range $name, $value := $v.limits }}
- { name: CULVERT_LIMIT_{{ $name }}, value: {{ $value | quote }} }
{{- end }}
{{- end }}

{{- define "culvert.probes" -}}
# Slow starts are waited for: Redis and NATS may come later.
startupProbe:
  httpGet: { path: /healthz, port: health }
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: { path: /healthz, port: health }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: { path: {{ .ready }}, port: health }
  periodSeconds: 5
  timeoutSeconds: 3
{{- end }}
