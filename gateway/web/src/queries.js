// What a person finds in the playground who opens it for the first time: one tab each, named after its operation.
export const queries = [
  `# Ctrl-Enter runs it. The book on the left
# has every type and field.
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
  `# What is stored right now, as it comes.
subscription Live {
  telemetry {
    position
    cluster_id
    samples {
      host_id
      gpu_id
      timestamp
      data
    }
  }
}
`,
]
