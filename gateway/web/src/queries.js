// What a person finds in the playground who opens it for the first time: one tab each, named after its operation.
export const queries = [
  `# Run it with the button, or Ctrl-Enter. The book on the left has every type and field.
query Clusters {
  clusters {
    cluster_id
    cluster_name
    status
  }
}
`,
  `query Telemetry {
  telemetry {
    cluster_id
    timestamp
    data
  }
}
`,
  `# What is being stored right now, over a WebSocket at this page's own address.
subscription Live {
  telemetry {
    cluster_id
    host_id
    gpu_id
    timestamp
    data
  }
}
`,
]
