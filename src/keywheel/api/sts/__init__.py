"""The operations of AWS STS that the SDKs' habits ask for."""
