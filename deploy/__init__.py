"""
What operators copy: objects of Kubernetes, Prometheus and Grafana for a deployed server.
"""
