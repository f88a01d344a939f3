import { readFileSync } from 'node:fs'
import { join, relative } from 'node:path'

/** Says in the last line what `npm test` has come to, and before it what was in doubt. Ends with 1 if that was too much. */

/**
 * How many tests may pass at their second try only (`retry` in vitest.config.ts). A machine that stops for a second or two, as rented ones do,
 * fails now and then a test that waits for a clock; more than a few are a fault of ours.
 */
const MOST_SECOND_TRIES = 5

const root = join(import.meta.dirname, '..')
const report = readFileSync(join(root, 'test-results.json'), 'utf8')
const { numPassedTests: passed, numFailedTests, numPendingTests: skipped, testResults } = JSON.parse(report)

const seconds = testResults.flatMap(({ name, assertionResults: results }) =>
  results
    .filter(({ status, failureMessages }) => status === 'passed' && failureMessages.length > 0)
    .map(({ fullName, failureMessages: [message] }) => ({ name, fullName, message })),
)
for (const { name, fullName, message } of seconds) {
  console.log(
    `passed at the second try: ${relative(root, name)}: ${fullName}\n  at the first: ${message.split('\n    at')[0]}`,
  )
}
if (seconds.length > MOST_SECOND_TRIES) {
  console.log(`${seconds.length} tests needed a second try, and no more than ${MOST_SECOND_TRIES} may`)
  process.exitCode = 1
}

// A file that cannot even be loaded has no failed test of its own.
const broken = testResults.filter(
  ({ status, assertionResults: results }) =>
    status === 'failed' && !results.some((result) => result.status === 'failed'),
)
if (skipped > 0) console.log(`skipped: ${skipped}`)
console.log(`tests: ${passed} passed, ${numFailedTests + broken.length} failed`)
