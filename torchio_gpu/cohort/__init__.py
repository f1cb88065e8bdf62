"""Cohorts: many cases, prepared on one machine or a cluster, with a record of each."""
