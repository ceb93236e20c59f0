"""The parts of a report, each made from what is known of a training; what is not known is named as not made."""
