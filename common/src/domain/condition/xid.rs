//! What an XID code asks for. The classes follow the immediate actions of NVIDIA's XID catalogue
//! (<https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html>); a code it lists and this table lacks is
//! unknown here: worth a warning, but nobody is told to reset anything.

use super::Severity;

/// What somebody has to do about an XID error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    ReplaceGpu,
    RebootHost,
    ResetGpu,
    RestartApplication,
    /// Nothing; worth knowing.
    Nothing,
}

impl Action {
    pub(super) fn in_words(self) -> &'static str {
        match self {
            Action::ReplaceGpu => "replace the GPU",
            Action::RebootHost => "reboot the host",
            Action::ResetGpu => "reset the GPU",
            Action::RestartApplication => "restart the application",
            Action::Nothing => "for information",
        }
    }
}

/// An entry of the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Xid {
    pub(super) code: i64,
    pub(super) name: &'static str,
    pub(super) action: Action,
}

const fn xid(code: i64, action: Action, name: &'static str) -> Xid {
    Xid { code, name, action }
}

/// By code.
static TABLE: [Xid; 28] = [
    xid(13, Action::RestartApplication, "graphics engine exception"),
    xid(31, Action::RestartApplication, "GPU memory page fault"),
    xid(43, Action::Nothing, "GPU stopped processing"),
    xid(48, Action::ResetGpu, "double-bit ECC error"),
    xid(54, Action::ReplaceGpu, "auxiliary power is not connected"),
    xid(63, Action::Nothing, "row remapping recorded"),
    xid(64, Action::ReplaceGpu, "row remapping could not be recorded"),
    xid(74, Action::RebootHost, "NVLink error"),
    xid(79, Action::RebootHost, "GPU has fallen off the bus"),
    xid(92, Action::Nothing, "high single-bit ECC error rate"),
    xid(94, Action::RestartApplication, "contained memory error"),
    xid(95, Action::ResetGpu, "uncontained memory error"),
    xid(109, Action::ResetGpu, "context switch timeout"),
    xid(110, Action::ResetGpu, "security fault"),
    xid(119, Action::ResetGpu, "GSP RPC timeout"),
    xid(120, Action::ResetGpu, "GSP error"),
    xid(121, Action::Nothing, "C2C link error"),
    xid(126, Action::RestartApplication, "copy engine error"),
    xid(136, Action::ResetGpu, "NVLink training failed"),
    xid(140, Action::ResetGpu, "unrecovered ECC error"),
    xid(143, Action::ResetGpu, "GPU initialization failed"),
    xid(151, Action::RebootHost, "key rotation error"),
    xid(155, Action::ResetGpu, "NVLink software-defined error"),
    xid(156, Action::ResetGpu, "resource retirement"),
    xid(158, Action::ResetGpu, "GPU fatal timeout"),
    xid(162, Action::Nothing, "power smoothing engaged again"),
    xid(163, Action::Nothing, "power smoothing disengaged"),
    xid(168, Action::RebootHost, "errors in write-protected memory"),
];

/// What is known of a code.
pub(super) fn known(code: i64) -> Option<&'static Xid> {
    TABLE.iter().find(|entry| entry.code == code)
}

/// Whether a code makes its GPU sick: it asks for a reset, a reboot or another GPU.
pub(super) fn is_sick(code: i64) -> bool {
    known(code).is_some_and(|entry| matches!(entry.action, Action::ReplaceGpu | Action::RebootHost | Action::ResetGpu))
}

/// How much a code matters.
pub(super) fn severity(code: i64) -> Severity {
    match known(code).map(|entry| entry.action) {
        Some(Action::ReplaceGpu | Action::RebootHost | Action::ResetGpu) => Severity::Critical,
        Some(Action::RestartApplication) | None => Severity::Warning,
        Some(Action::Nothing) => Severity::Notice,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_stands_once_in_order() {
        assert!(TABLE.windows(2).all(|pair| pair[0].code < pair[1].code));
    }

    #[test]
    fn only_codes_that_need_hands_make_a_gpu_sick() {
        for code in [54, 64, 79, 151, 168, 74, 48, 95, 109, 110, 119, 120, 136, 140, 143, 155, 156, 158] {
            assert!(is_sick(code) && severity(code) == Severity::Critical, "{code}");
        }
        for (code, expected) in [(13, Severity::Warning), (94, Severity::Warning), (43, Severity::Notice)] {
            assert!(!is_sick(code) && severity(code) == expected, "{code}");
        }
        assert!(!is_sick(9999) && severity(9999) == Severity::Warning, "an unknown code is no order to reset");
    }
}
