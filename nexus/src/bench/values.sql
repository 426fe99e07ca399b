-- How many values are stored: one for each metric of a sample that was reported, in a column of its own or not.
SELECT COALESCE(sum(num_nonnulls(
    gpu_utilization, memory_utilization, encoder_utilization, decoder_utilization, memory_used_mib,
    memory_free_mib, memory_reserved_mib, memory_total_mib, temperature_celsius, memory_temperature_celsius,
    power_watts, power_limit_watts, energy_millijoules, sm_clock_mhz, memory_clock_mhz, fan_speed,
    performance_state, clock_event_reasons, xid, pcie_replays, pcie_tx_bytes_per_second,
    pcie_rx_bytes_per_second, nvlink_bandwidth_total, vgpu_license_status, remapped_rows_uncorrectable,
    remapped_rows_correctable, row_remap_failure, row_remap_pending, ecc_sbe_volatile, ecc_dbe_volatile,
    ecc_sbe_aggregate, ecc_dbe_aggregate, gr_engine_active, sm_active, sm_occupancy, tensor_active,
    dram_active
) + (SELECT count(*) FROM jsonb_object_keys(COALESCE(ext, '{}')))), 0)::bigint
FROM samples
