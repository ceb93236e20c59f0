"""The chapters of a report. A part whose data is missing is listed as not made."""
