"""Defines what every dataset yields, and reads annotation formats that several datasets share."""
