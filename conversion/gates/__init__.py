"""The gates of `verify`: a number, a threshold, a verdict, a remedy each. Knows files and models; publishes nothing."""
