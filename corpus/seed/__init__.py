"""Cases that exist already: found in case files and test specifications, and made into a seed corpus."""
