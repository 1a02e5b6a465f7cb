"""The simulator behind `tensorferry simulate`: workloads, policies and figures."""
