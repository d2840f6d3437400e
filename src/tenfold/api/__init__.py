"""What a Python program or a notebook calls: functions, drawn samples, and scikit-learn's estimators."""
