// The npm client `graphql-ws` (protocol graphql-transport-ws) at /graphql.
import { createClient } from 'graphql-ws'
import { WebSocket } from 'ws'
import { queries } from '../../gateway/web/src/queries.js'
import { done, gateway, hold, see, socket } from './say.mjs'

const url = socket(gateway(), '/graphql')
// What the playground offers is what is asked here.
const offered = (name) => queries.find((query) => query.includes(` ${name} {`))

let opened = 0
let protocol
let welcome
const client = createClient({
  url,
  webSocketImpl: WebSocket,
  retryAttempts: 0,
  lazyCloseTimeout: 5000,
  on: {
    connected(connection, payload) {
      opened += 1
      protocol = connection.protocol
      welcome = payload
    },
  },
})

/** The first `count` answers of an operation; then it is completed from here. */
async function answers(query, count) {
  const got = []
  for await (const answer of client.iterate({ query })) {
    hold(!answer.errors, JSON.stringify(answer.errors))
    got.push(answer.data)
    if (got.length === count) break
  }
  return got
}

await see('graphql-ws: a query', 15, async () => {
  const [data] = await answers(offered('Clusters'), 1)
  hold(data.clusters.length > 0, `no clusters: ${JSON.stringify(data)}`)
  return data.clusters[0]
})
await see('graphql-ws: the protocol that was agreed on', 1, async () => {
  hold(protocol === 'graphql-transport-ws', `it is ${protocol}`)
  return protocol
})
await see('graphql-ws: the acknowledgement names the request', 1, async () => {
  hold(welcome?.request_id?.length > 0, `it says ${JSON.stringify(welcome)}`)
  return welcome
})
await see('graphql-ws: a subscription receives telemetry, more than once', 60, async () => {
  const got = await answers(offered('Live'), 3)
  hold(got.length === 3, `it ended after ${got.length}`)
  for (const data of got) {
    const text = JSON.stringify(data)
    hold(text.includes('"timestamp"') && text.includes('"data"'), text)
  }
  return got[0]
})
/** Why an operation was refused. */
async function refused(query) {
  const got = await answers(query, 1).then(
    (answered) => ({ answered }),
    (reason) => ({ reason }),
  )
  hold(got.reason, `it was answered: ${JSON.stringify(got.answered)}`)
  const reasons = [got.reason].flat()
  return reasons.map((reason) => reason.message || reason.reason || `closed with ${reason.code}`).join('; ')
}

await see('graphql-ws: a query that asks for what is not there gives an error that names it', 15, async () => {
  const why = await refused('{ nothing_of_this_name }')
  hold(why.includes('nothing_of_this_name'), why)
  return why
})
await see('graphql-ws: what operators do is refused to anybody else', 15, async () => {
  const why = await refused('mutation { redrive_dead_letters(which: { all: true }) { letters } }')
  hold(why.includes('operator'), why)
  return why
})
await see('graphql-ws: the connection outlived that', 15, async () => {
  await answers(offered('Telemetry'), 1)
  hold(opened === 1, `${opened} connections were opened`)
  return `${opened} connection`
})
await see('graphql-ws: a query that cannot be read gives an error', 15, async () => {
  const why = await refused('{ clusters { ')
  hold(opened > 0, why)
  return why
})
await client.dispose()
done()
