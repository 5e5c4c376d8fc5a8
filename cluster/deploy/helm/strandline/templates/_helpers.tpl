{{- define "strandline.labels" -}}
app.kubernetes.io/name: strandline
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "strandline.selector" -}}
app.kubernetes.io/name: strandline
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "strandline.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: ["ALL"]
{{- end }}

{{- define "strandline.gateway" -}}
name: gateway
image: "{{ .Values.gateway.image.repository }}:{{ .Values.gateway.image.tag }}"
imagePullPolicy: {{ .Values.gateway.image.pullPolicy }}
ports:
  - {name: https, containerPort: 8443}
  - {name: probes, containerPort: 8080}
resources:
{{ toYaml .Values.gateway.resources | indent 2 }}
securityContext:
{{ include "strandline.security" . | indent 2 }}
volumeMounts:
  - {name: gateway, mountPath: /etc/nginx/nginx.conf, subPath: nginx.conf, readOnly: true}
  - {name: tls, mountPath: /etc/strandline-tls, readOnly: true}
  - {name: tmp, mountPath: /tmp}
{{- end }}

{{- define "strandline.node" -}}
name: node
image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
imagePullPolicy: {{ .Values.image.pullPolicy }}
# asked through the gateway's port: the node listens on loopback, which the kubelet does not reach
startupProbe:
  httpGet: {path: /health, port: 8080}
  periodSeconds: 5
  failureThreshold: {{ div .Values.startupSeconds 5 }}
livenessProbe:
  httpGet: {path: /health, port: 8080}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /ready, port: 8080}
  periodSeconds: 5
  timeoutSeconds: 5
resources:
{{ toYaml .Values.resources | indent 2 }}
securityContext:
{{ include "strandline.security" . | indent 2 }}
volumeMounts:
  - {name: data, mountPath: /var/lib/strandline}
  - {name: statement, mountPath: /etc/strandline, readOnly: true}
  - {name: tmp, mountPath: /tmp}
{{- end }}
