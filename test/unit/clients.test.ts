import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { clientsOf } from '../../src/clients/clients.ts'

/** What a URL may have in its path as it is. */
const base = "https://images.example.com/it's-$HOME-$(id)-(x);&!~*"

const fileOf = (path: string) => {
  const [client, name] = path.split('/')
  const found = clientsOf({ base, hasLinks: true }).find(({ id }) => id === client)
  return found?.files.find((file) => file.name === name)?.text ?? ''
}

test.each(['typora/layover.sh', 'curl/form.sh', 'curl/link.sh'])(
  '%s calls curl with the address as it is',
  (path) => {
    const dir = mkdtempSync(join(tmpdir(), 'layover-shell-'))
    // A curl that says what it was called with.
    writeFileSync(join(dir, 'curl'), '#!/bin/sh\nprintf "%s\\n" "$@" >>called\n', { mode: 0o755 })
    writeFileSync(join(dir, 'photo.jpg'), '')
    try {
      const script = ['-c', fileOf(path), 'layover.sh', 'photo.jpg']
      const env = { PATH: `${dir}:${process.env.PATH}` }
      execFileSync('sh', script, { cwd: dir, env, stdio: 'ignore' })
    } catch {
      // This curl answers nothing, which the script for Typora takes for a failure.
    }
    const called = execFileSync('cat', ['called'], { cwd: dir, encoding: 'utf8' })
    rmSync(dir, { recursive: true })
    const address = path === 'curl/link.sh' ? '/v1/files/uploads/presign' : '/api/upload'
    expect(called.split('\n')).toContain(base + address)
  },
)

test.each(['python/layover.py', 'openai/ask.py'])('%s is Python, with the address as it is', (path) => {
  const literals =
    'import ast, json, sys; print(json.dumps([n.value for n in ast.walk(ast.parse(sys.stdin.read())) if isinstance(n, ast.Constant)]))'
  const found = JSON.parse(
    execFileSync('python3', ['-c', literals], { input: fileOf(path), encoding: 'utf8' }),
  )
  expect(found).toContain(base + (path.startsWith('openai') ? '/v1' : '/api/upload'))
})
