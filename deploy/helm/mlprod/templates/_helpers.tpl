{{- define "mlprod.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "mlprod.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end -}}

{{- /* Of one part: (list $ "serve"). */ -}}
{{- define "mlprod.selector" -}}
app.kubernetes.io/name: mlprod
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "mlprod.image" -}}
{{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) }}
{{- end -}}

{{- define "mlprod.pull" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "mlprod.homeClaim" -}}
{{ .Values.home.existingClaim | default (printf "%s-home" (include "mlprod.name" .)) }}
{{- end -}}

{{- define "mlprod.mlflowUrl" -}}
{{- if .Values.mlflow.enabled -}}
{{ printf "http://%s-mlflow:5000" (include "mlprod.name" .) }}
{{- else -}}
{{ required "mlflow.url: give the address of your MLflow, or set mlflow.enabled" .Values.mlflow.url }}
{{- end -}}
{{- end -}}

{{- /* No root, no capability, no way to more rights; the file system is read-only. */ -}}
{{- define "mlprod.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- /* (list uid): the user that the image's files belong to. */ -}}
{{- define "mlprod.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ index . 0 }}
runAsGroup: {{ index . 0 }}
fsGroup: {{ index . 0 }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- /* (list $ "serve"): its pods on different nodes where that can be had. */ -}}
{{- define "mlprod.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "mlprod.selector" . | nindent 8 }}
{{- end -}}
