//! Sends the metrics to a collector, as often as the configuration says.

use super::operator::Operator;
use crate::telemetry::log_throttle::LogThrottle;
use crate::telemetry::otlp_metrics::MetricsExport;

/// Sends them while the process lasts. What the collector does not take is not kept: the next ones say it all.
pub(super) async fn export(export: MetricsExport, operator: Operator) {
    let (clock, complaint) = (operator.env().clock, LogThrottle::default());
    let start = clock.wall();
    loop {
        tokio::time::sleep(export.every).await;
        let Ok(text) = operator.metrics().await else { continue };
        if let Err(cause) = export.send(&text, (start, clock.wall())).await
            && complaint.now()
        {
            let next_step = "look at the collector and at metrics.otlp; requests are served all the same";
            tracing::warn!(owner = "gate", cause, next_step, "the collector did not take the metrics");
        }
    }
}
