"""What a captioning system did with one video, collected and drawn as one page."""
