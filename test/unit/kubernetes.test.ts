import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { parse } from 'yaml'
import { type Config, loadConfig, variableNames } from '../../src/config.ts'
import { startApp } from '../support/app.ts'
import { container, environment, type Manifest, manifests, secretNames } from '../support/manifests.ts'

const root = join(import.meta.dirname, '../..')
const read = (path: string) => readFileSync(join(root, path), 'utf8')
const pod: Manifest = manifests().get('Deployment').spec.template.spec
const main = container()

/** Bytes of a quantity such as 512Mi. */
function bytes(text: string): number {
  const [, number, unit = ''] = /^(\d+)([KMG]i)$/.exec(text) ?? []
  return Number(number) * 1024 ** (['Ki', 'Mi', 'Gi'].indexOf(unit) + 1)
}

function config(): Config {
  const secrets: Record<string, string> = {
    SECRET: 's'.repeat(32),
    API_KEYS: `ci:${'k'.repeat(16)}`,
    REDIS_URL: 'redis://redis:6379',
  }
  return loadConfig({
    ...Object.fromEntries(secretNames().map((name) => [name, secrets[name] ?? 'a-value'])),
    ...environment(),
  })
}

test('every variable is one of Layover’s, the Secret has those that must be the same everywhere, and all together can be used', () => {
  const names = [...Object.keys(environment()), ...secretNames()]
  expect(names.filter((name) => !variableNames.includes(name))).toEqual([])
  expect(new Set(names).size).toBe(names.length)
  expect(secretNames()).toEqual(expect.arrayContaining(['SECRET', 'API_KEYS', 'REDIS_URL']))
  expect(config()).toMatchObject({ store: 's3', host: '0.0.0.0' })
})

test('no secret is in a manifest', () => {
  expect(manifests().has('Secret')).toBe(false)
  expect(Object.keys(environment()).filter((name) => /SECRET|KEY|REDIS/.test(name))).toEqual([])
})

test('ports, probes and selectors lead to the same pods', () => {
  const ports = new Map<string, number>(main.ports.map((port: Manifest) => [port.name, port.containerPort]))
  expect(ports.get('http')).toBe(config().port)
  expect(config().metricsAddress).toMatchObject({ port: ports.get('metrics') })
  const probes = [main.startupProbe, main.livenessProbe, main.readinessProbe].map(({ httpGet }) => httpGet)
  expect(probes.map(({ path }) => path)).toEqual(['/healthz', '/healthz', '/readyz'])
  expect(probes.map(({ port }) => port)).toEqual(['http', 'http', 'http'])
  const labels = manifests().get('Deployment').spec.template.metadata.labels
  expect(manifests().get('Service').spec.selector).toEqual(labels)
  for (const kind of ['Deployment', 'PodDisruptionBudget'])
    expect(manifests().get(kind).spec.selector.matchLabels).toEqual(labels)
  expect(manifests().get('NetworkPolicy').spec.podSelector.matchLabels).toEqual(labels)
  const [service] = manifests().get('Service').spec.ports
  expect(ports.has(service.targetPort)).toBe(true)
  const [rule] = manifests().get('Ingress').spec.rules
  expect(rule.http.paths[0].backend.service).toEqual({ name: 'layover', port: { name: service.name } })
  expect(`https://${rule.host}`).toBe(config().publicUrl)
  const { scaleTargetRef, minReplicas } = manifests().get('HorizontalPodAutoscaler').spec
  expect({ scaleTargetRef, minReplicas }).toEqual({
    scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'layover' },
    minReplicas: 2,
  })
  expect(manifests().get('Deployment').spec).not.toHaveProperty('replicas')
})

test('a stop, the memory and the temp space have the room that they need', () => {
  const { stopTimeout, maxMemory, maxConcurrentUploads, maxFileSize, minFreeSpace } = config()
  const [command, pause] = main.lifecycle.preStop.exec.command
  expect(command).toBe('sleep')
  expect(pod.terminationGracePeriodSeconds).toBeGreaterThan(Number(pause) + stopTimeout + 5)
  expect(bytes(main.resources.limits.memory)).toBeGreaterThan(1.2 * maxMemory)
  const most = maxConcurrentUploads * maxFileSize
  expect(bytes(pod.volumes[0].emptyDir.sizeLimit)).toBeGreaterThan(most + minFreeSpace)
  expect(bytes(main.resources.limits['ephemeral-storage'])).toBeGreaterThan(most)
})

test('a pod has no more rights than it needs, and is who the image is made for', () => {
  const [, user, group] = /^USER (\d+):(\d+)$/m.exec(read('Dockerfile')) ?? []
  expect(pod.securityContext).toEqual({
    runAsNonRoot: true,
    runAsUser: Number(user),
    runAsGroup: Number(group),
    fsGroup: Number(group),
    seccompProfile: { type: 'RuntimeDefault' },
  })
  expect(main.securityContext).toEqual({
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ['ALL'] },
  })
  expect(pod.automountServiceAccountToken).toBe(false)
  expect(main.volumeMounts).toEqual([{ name: 'data', mountPath: config().dataDir }])
})

test('all that is there is applied, and nothing names a namespace', () => {
  const { resources } = parse(read('deploy/kubernetes/kustomization.yaml'))
  expect(resources).toHaveLength(manifests().size - 1)
  for (const object of manifests().values()) expect(object.metadata?.namespace).toBeUndefined()
})

test('Traefik’s files are YAML, name each other’s parts, and end idle connections before Layover does', async () => {
  await using app = await startApp()
  const start = parse(read('deploy/traefik/traefik.yml'))
  const { http } = parse(read('deploy/traefik/layover.yml'))
  const { entryPoints, service, tls } = http.routers.layover
  expect(Object.keys(start.entryPoints)).toEqual(entryPoints)
  expect(start.certificatesResolvers).toHaveProperty(tls.certResolver)
  const { serversTransport } = http.services[service].loadBalancer
  const { idleConnTimeout } = http.serversTransports[serversTransport].forwardingTimeouts
  const { uploadTimeout } = loadConfig({})
  expect(Number.parseInt(idleConnTimeout, 10) * 1000).toBeLessThan(app.server.keepAliveTimeout)
  const { readTimeout } = start.entryPoints.websecure.transport.respondingTimeouts
  expect(Number.parseInt(readTimeout, 10)).toBeGreaterThan(uploadTimeout)
})
