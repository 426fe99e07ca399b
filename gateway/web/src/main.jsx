import './workers.js'
import { createGraphiQLFetcher } from '@graphiql/toolkit'
import { GraphiQL } from 'graphiql'
import 'graphiql/style.css'
import { createClient } from 'graphql-ws'
import { createRoot } from 'react-dom/client'
import './page.css'
import { queries } from './queries.js'

const url = new URL('/graphql', window.location.href)
const live = new URL(url)
live.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'

// What the headers editor says, {"Authorization": "Bearer nxk_…"}: a WebSocket cannot send it as headers, so it goes into
// connection_init. Nothing of it is kept (shouldPersistHeaders is off).
let headers = {}

// It connects when the first subscription is run, and leaves when the last one ends.
const wsClient = createClient({ url: live.href, connectionParams: () => headers })
const ask = createGraphiQLFetcher({ url: url.href, wsClient, enableIncrementalDelivery: false })
const fetcher = (question, options) => {
  headers = options?.headers ?? {}
  return ask(question, options)
}

createRoot(document.getElementById('playground')).render(
  <GraphiQL fetcher={fetcher} defaultTabs={queries.map((query) => ({ query }))}>
    <GraphiQL.Logo>Nexus</GraphiQL.Logo>
  </GraphiQL>,
)
