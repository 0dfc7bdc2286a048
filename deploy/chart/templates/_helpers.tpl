{{- define "patgate.name" -}}
{{- if contains .Chart.Name .Release.Name -}}{{ .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else -}}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}{{- end -}}
{{- end -}}

{{- define "patgate.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "patgate.labels" -}}
{{ include "patgate.selector" . }}
app.kubernetes.io/component: gate
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "patgate.account" -}}
{{- if .Values.serviceAccount.name -}}{{ .Values.serviceAccount.name }}
{{- else if .Values.serviceAccount.create -}}{{ include "patgate.name" . }}{{- else -}}default{{- end -}}
{{- end -}}

{{- define "patgate.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}{{- else -}}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{- end -}}
{{- end -}}
{{- end -}}

{{- define "patgate.tls" -}}
{{- .Values.certificate.existingSecret | default (printf "%s-tls" (include "patgate.name" .)) -}}
{{- end -}}

{{/* The port behind the last colon of an address. */}}
{{- define "patgate.port" -}}
{{- regexFind "[0-9]+$" . -}}
{{- end -}}

{{/* The name of a further listener's port: 15 characters at most. */}}
{{- define "patgate.portName" -}}
{{- printf "l-%s" (. | lower | replace "_" "-") | trunc 15 | trimSuffix "-" -}}
{{- end -}}

{{/* A duration of the configuration in seconds, rounded up. */}}
{{- define "patgate.seconds" -}}
{{- $number := regexFind "^[0-9]+" . | int -}}
{{- if hasSuffix "ms" . -}}{{ div (add $number 999) 1000 }}
{{- else if hasSuffix "s" . -}}{{ $number }}
{{- else if hasSuffix "m" . -}}{{ mul $number 60 }}
{{- else if hasSuffix "h" . -}}{{ mul $number 3600 }}
{{- else -}}0{{- end -}}
{{- end -}}

{{/* A value as TOML writes it; strings of JSON are strings of TOML. Helm has every number as a float. */}}
{{- define "patgate.toml.value" -}}
{{- if kindIs "string" . -}}{{ toJson . }}
{{- else if kindIs "float64" . -}}
{{- if eq . (floor .) -}}{{ printf "%.0f" . }}{{- else -}}{{ printf "%v" . }}{{- end -}}
{{- else if kindIs "slice" . -}}
[{{- range $at, $one := . -}}{{- if $at }}, {{ end -}}{{ include "patgate.toml.value" $one }}{{- end -}}]
{{- else -}}{{ . }}{{- end -}}
{{- end -}}

{{/* A table: its own keys, then the tables in it. `path` is its name, empty for the top. */}}
{{- define "patgate.toml.table" -}}
{{- $path := .path -}}
{{- if $path }}
[{{ $path }}]
{{ end -}}
{{- range $key, $value := .table -}}
{{- if and (not (kindIs "map" $value)) (not (kindIs "invalid" $value)) -}}
{{ toJson $key }} = {{ include "patgate.toml.value" $value }}
{{ end -}}
{{- end -}}
{{- range $key, $value := .table -}}
{{- if kindIs "map" $value -}}
{{ include "patgate.toml.table" (dict "path" (ternary (toJson $key) (printf "%s.%s" $path (toJson $key)) (empty $path)) "table" $value) }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What the gate's pods and the test's have in common. */}}
{{- define "patgate.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* Where the pods run, and what may pull their image. */}}
{{- define "patgate.scheduling" -}}
{{- with .Values.imagePullSecrets -}}
imagePullSecrets:
{{- range . }}
  - name: {{ quote . }}
{{- end }}
{{ end -}}
{{- with .Values.priorityClassName -}}
priorityClassName: {{ quote . }}
{{ end -}}
{{- with .Values.nodeSelector -}}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{ end -}}
{{- with .Values.tolerations -}}
tolerations:
  {{- toYaml . | nindent 2 }}
{{ end -}}
{{- end -}}

{{/* What of the configuration a running gate does not take up (`needs_restart` in src/config/change.rs), as one hash. */}}
{{- define "patgate.atStart" -}}
{{- $config := .Values.config -}}
{{- $whole := pick $config "health" "replicas" "state" "seal" "log" "history" "traces" "metrics" -}}
{{- $listeners := dict -}}
{{- range $name, $one := $config.listeners -}}
{{- $_ := set $listeners $name (pick $one "address" "kind" "tunnels") -}}
{{- end -}}
{{- $parts := dict "listeners" $listeners
  "listen" (pick ($config.listen | default dict) "address" "workers" "connections" "reuse_port")
  "limits" (pick ($config.limits | default dict) "unadmitted")
  "admin" (pick ($config.admin | default dict) "address" "socket")
  "pat" (pick ($config.pat | default dict) "budget" "in_flight")
  "audit" (pick ($config.audit | default dict) "keep") -}}
{{- if and (kindIs "map" $config.seal) (index ($config.seal | default dict) "keys") -}}
{{- $_ := set $parts "stores" $config.stores -}}
{{- end -}}
{{- list $whole $parts | toJson | sha256sum -}}
{{- end -}}

{{- define "patgate.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
capabilities:
  drop: ["ALL"]
{{- end -}}

{{- define "patgate.mounts" -}}
- name: configuration
  mountPath: /etc/patgate
  readOnly: true
- name: tls
  mountPath: /etc/patgate-tls
  readOnly: true
{{- range .Values.secretMounts }}
- name: secret-{{ .name }}
  mountPath: /etc/patgate-secrets/{{ .name }}
  readOnly: true
{{- end }}
- name: state
  mountPath: /var/lib/patgate
{{- end -}}

{{- define "patgate.volumes" -}}
- name: configuration
  configMap:
    name: {{ include "patgate.name" . }}
- name: tls
  secret:
    secretName: {{ include "patgate.tls" . }}
    defaultMode: 0440
{{- range .Values.secretMounts }}
- name: secret-{{ .name }}
  secret:
    secretName: {{ .secret }}
    defaultMode: 0440
{{- end }}
{{- end -}}

{{- define "patgate.podLabels" -}}
{{ include "patgate.labels" . }}
{{- if .Values.workloadIdentity.azure.clientId }}
azure.workload.identity/use: "true"
{{- end }}
{{- with .Values.podLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Whether a store asks the cluster who the gate is. */}}
{{- define "patgate.mountsToken" -}}
{{- contains "\"kubernetes\"" (toJson (.Values.config.stores | default dict)) -}}
{{- end -}}

{{/* What does not go together, said before anything is installed. */}}
{{- define "patgate.checked" -}}
{{- range $table := list "accounts" "credentials" "clients" -}}
{{- if not (index $.Values.config $table) -}}{{ fail (printf "config.%s is empty: the gate needs accounts, credentials and clients" $table) }}{{- end -}}
{{- end -}}
{{- $several := or (gt (int .Values.replicaCount) 1) .Values.autoscaling.enabled -}}
{{- $keys := and (kindIs "map" .Values.config.seal) (index (.Values.config.seal | default dict) "keys") -}}
{{- if and $several (not $keys) (not (eq (toJson .Values.config.seal) "false")) -}}
{{- fail "several replicas need config.seal.keys, a reference to keys that all of them read: a session of one is refused by the others. Or set replicaCount to 1" -}}
{{- end -}}
{{- if and .Values.state.existingClaim $several -}}{{ fail "state.existingClaim is for one gate: set replicaCount to 1 and autoscaling.enabled to false" }}{{- end -}}
{{- range $table := list "listen" "health" -}}
{{- $address := dig $table "address" "" ($.Values.config | toJson | fromJson) -}}
{{- if not $address -}}{{ fail (printf "config.%s.address is empty: the chart needs it" $table) }}{{- end -}}
{{- if or (hasPrefix "127." $address) (hasPrefix "[::1]" $address) (hasPrefix "localhost" $address) -}}
{{ fail (printf "config.%s.address %s is the pod's own: nobody reaches it; write 0.0.0.0" $table $address) }}
{{- end -}}
{{- end -}}
{{- $names := dict -}}
{{- range $name, $listener := .Values.config.listeners -}}
{{- $port := include "patgate.portName" $name -}}
{{- if hasKey $names $port -}}{{ fail (printf "the listeners %s and %s have one name for a port, %s: call one otherwise" $name (get $names $port) $port) }}{{- end -}}
{{- $_ := set $names $port $name -}}
{{- end -}}
{{- $ending := add (include "patgate.seconds" (.Values.config.listen.notice | default "0s")) (include "patgate.seconds" (.Values.config.listen.drain | default "30s")) 5 -}}
{{- if gt (int $ending) (int .Values.terminationGracePeriodSeconds) -}}
{{- fail (printf "terminationGracePeriodSeconds is %d: config.listen.notice and drain need %d, or the pod is killed in its drain" (int .Values.terminationGracePeriodSeconds) (int $ending)) -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (gt (int .Values.replicaCount) (int .Values.autoscaling.maxReplicas)) -}}
{{- fail "replicaCount, which autoscaling does not go below, is more than autoscaling.maxReplicas" -}}
{{- end -}}
{{- with .Values.networkPolicy -}}
{{- if and .enabled (not .egressPorts) (not .egress) -}}{{ fail "networkPolicy.egressPorts and networkPolicy.egress are empty: the gate would reach neither Snowflake nor a store" }}{{- end -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled .Values.networkPolicy.enabled (not .Values.networkPolicy.healthFrom) -}}
{{- fail "serviceMonitor is on, and the NetworkPolicy lets no other namespace scrape: name Prometheus's namespace in networkPolicy.healthFrom" -}}
{{- end -}}
{{- if and .Values.certificate.certManager (not .Values.certificate.existingSecret) -}}
{{- if not .Values.certificate.issuer.name -}}{{ fail "certificate.issuer.name is empty: name an issuer of cert-manager, or a Secret in certificate.existingSecret" }}{{- end -}}
{{- if not .Values.certificate.dnsNames -}}{{ fail "certificate.dnsNames is empty: which name do tools enter?" }}{{- end -}}
{{- else if not .Values.certificate.existingSecret -}}{{ fail "name a Secret in certificate.existingSecret, or let cert-manager make one" }}
{{- end -}}
{{- end -}}
