import { inject } from 'vitest'

// What the tests' servers are started with, in this project.
process.env.TEST_STORE = inject('s3')
