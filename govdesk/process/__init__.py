"""The only place that starts programs: broker, channels, stop ladder, environment."""
