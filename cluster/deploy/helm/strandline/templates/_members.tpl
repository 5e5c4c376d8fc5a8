{{- define "strandline.budget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .root.Release.Name }}-{{ .roles }}
  labels:
{{ include "strandline.labels" .root | indent 4 }}
spec:
  maxUnavailable: {{ .most }}
  selector:
    matchLabels:
{{ include "strandline.selector" .root | indent 6 }}
      app.kubernetes.io/component: {{ .roles }}
{{- end }}

{{- define "strandline.service" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ .name }}
  labels:
{{ include "strandline.labels" .root | indent 4 }}
spec:
  type: {{ .root.Values.service.type }}
  selector:
{{ include "strandline.selector" .root | indent 4 }}
{{- if .roles }}
    app.kubernetes.io/component: {{ .roles }}
{{- end }}
  ports:
    - {name: https, port: {{ .root.Values.service.port }}, targetPort: https}
    - {name: native, port: 7071, targetPort: native}
{{- end }}

{{- define "strandline.members" -}}
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: {{ .root.Release.Name }}-{{ .part }}
  labels:
{{ include "strandline.labels" .root | indent 4 }}
spec:
  replicas: {{ .replicas }}
  # ids of nodes are made of ordinals
  ordinals: {start: {{ .from }}}
  # nodes that come back need each other to be ready
  podManagementPolicy: Parallel
  serviceName: {{ .root.Release.Name }}-nodes
  selector:
    matchLabels:
{{ include "strandline.selector" .root | indent 6 }}
      strandline/part: {{ .part }}
  template:
    metadata:
      labels:
{{ include "strandline.labels" .root | indent 8 }}
        app.kubernetes.io/component: {{ .roles }}
        strandline/part: {{ .part }}
    spec:
      serviceAccountName: {{ .root.Release.Name }}
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: {{ .root.Values.terminationGracePeriodSeconds }}
      securityContext:
        runAsNonRoot: true
        runAsUser: 65532
        runAsGroup: 65532
        fsGroup: 65532
        fsGroupChangePolicy: OnRootMismatch
        seccompProfile: {type: RuntimeDefault}
      containers:
        - name: node
          image: "{{ .root.Values.image.repository }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}"
          imagePullPolicy: {{ .root.Values.image.pullPolicy }}
          args:
            - serve
            - --data-dir=/var/lib/strandline/node
            - --node-id=$(NODE_ID)
            - --roles={{ .roles }}
            # in brackets, whichever kind of address it is: one of IPv6 needs them, and the node takes both so
            - --cluster=[$(POD_IP)]:7073
            - --http={{ .root.Values.listen }}:7070
            - --native={{ .root.Values.listen }}:7071
            - --admin=127.0.0.1:7072
            - --token-file=/etc/strandline-tokens/tokens
            - --tls-cert=/etc/strandline-tls/node-$(NODE_ID).pem
            - --tls-key=/etc/strandline-tls/node-$(NODE_ID).key
            - --tls-ca=/etc/strandline-tls/ca.pem
{{- if .from }}
            - --join={{ .root.Release.Name }}-first-0.{{ .root.Release.Name }}-nodes:7073
{{- end }}
{{- if not .from }}
            - --config=/etc/strandline/stores.deql
            - --replication={{ .root.Values.cluster.replication }}
{{- end }}
          env:
{{ include "strandline.identity" . | indent 12 }}
            - name: POD_IP
              valueFrom: {fieldRef: {fieldPath: status.podIP}}
{{- range $name, $value := .root.Values.environment }}
            - {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- if .root.Values.environmentSecret }}
          envFrom:
            - secretRef: {name: {{ .root.Values.environmentSecret }}}
{{- end }}
          ports:
            - {name: https, containerPort: 7070}
            - {name: native, containerPort: 7071}
            - {name: cluster, containerPort: 7073}
          startupProbe:
            httpGet: {path: /health, port: 7070, scheme: HTTPS}
            periodSeconds: 5
            failureThreshold: {{ div .root.Values.startupSeconds 5 }}
          livenessProbe:
            httpGet: {path: /health, port: 7070, scheme: HTTPS}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          readinessProbe:
            httpGet: {path: /ready, port: 7070, scheme: HTTPS}
            periodSeconds: 5
            timeoutSeconds: 5
          resources:
{{ toYaml .root.Values.resources | indent 12 }}
          securityContext:
{{ include "strandline.security" .root | indent 12 }}
          volumeMounts:
            - {name: data, mountPath: /var/lib/strandline}
            - {name: statement, mountPath: /etc/strandline, readOnly: true}
            # whole folders, never a subPath: only so what is renewed in a Secret reaches a pod that runs, and the node reads it again by itself
            - {name: certificates, mountPath: /etc/strandline-tls, readOnly: true}
            - {name: tokens, mountPath: /etc/strandline-tokens, readOnly: true}
            - {name: tmp, mountPath: /tmp}
{{- if .root.Values.cluster.sharedClaim }}
            - {name: shared, mountPath: /mnt/strandline}
{{- end }}
      volumes:
        - name: statement
          configMap: {name: {{ .root.Release.Name }}-statement}
        # of root, readable for the group of fsGroup alone: so the node takes secrets
        - name: certificates
          secret:
            secretName: {{ required "cluster.certificatesSecret: name a Secret with ca.pem, and node-N.pem and node-N.key of each node; nodes show them to each other and to clients" .root.Values.cluster.certificatesSecret }}
            defaultMode: 0440
        - name: tokens
          secret:
            secretName: {{ required "cluster.tokensSecret: name a Secret with the key tokens, the token file of all nodes; without it they serve loopback only" .root.Values.cluster.tokensSecret }}
            defaultMode: 0440
        - name: tmp
          emptyDir: {}
{{- if .root.Values.cluster.sharedClaim }}
        - name: shared
          persistentVolumeClaim: {claimName: {{ .root.Values.cluster.sharedClaim }}}
{{- end }}
{{- if .root.Values.nodeSelector }}
      nodeSelector:
{{ toYaml .root.Values.nodeSelector | indent 8 }}
{{- end }}
{{- if .root.Values.tolerations }}
      tolerations:
{{ toYaml .root.Values.tolerations | indent 8 }}
{{- end }}
  volumeClaimTemplates:
    - metadata:
        name: data
      spec:
        accessModes: [ReadWriteOnce]
{{- if .root.Values.storage.storageClassName }}
        storageClassName: {{ .root.Values.storage.storageClassName }}
{{- end }}
        resources:
          requests:
            storage: {{ .root.Values.storage.size }}
{{- end }}

{{- define "strandline.identity" -}}
- name: POD_INDEX
  valueFrom: {fieldRef: {fieldPath: "metadata.labels['apps.kubernetes.io/pod-index']"}}
- {name: NODE_ID, value: {{ .id | quote }}}
{{- end }}
