"""A controlled study on the demo world: what each module and each system does, with intervals over seeds and videos."""
