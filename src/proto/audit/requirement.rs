//! Which requirement of PCI DSS v4.0.1 an event serves.

use super::Event;

impl Event {
    /// The requirement that this event's entry serves.
    ///
    /// Opening and using a card's fields is access to cardholder data (10.2.1.1). Masking keeps
    /// sensitive authentication data out of recordings, so arming and its proof serve 3.3.1.
    #[must_use]
    pub const fn requirement(&self) -> &'static str {
        match self {
            Self::PaymentCreated { .. }
            | Self::CaptureOpened { .. }
            | Self::CaptureCompleted { .. }
            | Self::CaptureClosed { .. }
            | Self::ChargeIntent { .. }
            | Self::ChargeSending { .. }
            | Self::ChargeResult { .. }
            | Self::ChargeUnknown { .. }
            | Self::OperationSending { .. }
            | Self::OperationResult { .. }
            | Self::PaymentCancelled { .. } => "10.2.1.1",
            Self::Configuration { .. }
            | Self::CallbackReplayed { .. }
            | Self::CallbackDropped { .. } => "10.2.1.2",
            Self::AuditRead { .. } => "10.2.1.3",
            Self::SignInRefused { .. }
            | Self::AccessRefused { .. }
            | Self::KeyCodeRefused { .. }
            | Self::DisarmRefused { .. } => "10.2.1.4",
            Self::ApiKeyCreated { .. }
            | Self::ApiKeyRevoked { .. }
            | Self::PanelLinkCreated { .. }
            | Self::SignIn { .. }
            | Self::SignOut { .. } => "10.2.1.5",
            Self::LogStarted | Self::LogStopped => "10.2.1.6",
            Self::CallStarted { .. } => "10.2.1.7",
            Self::CardWiped { .. }
            | Self::CallEnded { .. }
            | Self::ArmingRequested { .. }
            | Self::Armed { .. }
            | Self::ArmRefused { .. }
            | Self::MaskingTightened { .. }
            | Self::SourceContested { .. }
            | Self::Disarmed { .. } => "3.3.1",
            Self::SecretMemory { .. } => "3.3.2",
            Self::ControlFailure { .. } => "10.7.2",
        }
    }

    /// Whether this begins something whose end has to be recorded too. Such events are refused
    /// while the log has no room in reserve; ends never are.
    #[must_use]
    pub const fn begins(&self) -> bool {
        matches!(
            self,
            Self::PaymentCreated { .. }
                | Self::ArmingRequested { .. }
                | Self::CaptureOpened { .. }
                | Self::ChargeIntent { .. }
                | Self::ChargeSending { .. }
                | Self::OperationSending { .. }
        )
    }
}
