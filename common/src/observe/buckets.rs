//! Upper bounds of histograms' buckets.

/// Of calls and requests, in seconds: from what stays on the machine to what nobody waits for any longer.
pub const CALLS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Of what waits in a queue, in seconds: from the light load's milliseconds to the hour after which messages expire.
pub const AGES: [f64; 14] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0];

/// Of batches and flights, in rows.
pub const ROWS: [f64; 10] = [1.0, 10.0, 50.0, 100.0, 500.0, 1_000.0, 5_000.0, 10_000.0, 20_000.0, 40_000.0];
